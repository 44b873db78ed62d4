package managedid

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/testkit"
)

const othersToken = "other"

// lostUntil loses the requests before the n-th.
func lostUntil(n int) script {
	return func(i int, r *http.Request) (*http.Response, error) {
		if i < n {
			return nil, delayed(r, time.Hour)
		}
		return nil, nil
	}
}

// otherOfAnHour is a link behind a managed identity, whose tokens are valid for an hour.
func otherOfAnHour(calls *atomic.Int32) azcore.TokenCredential {
	return answering(calls, othersToken, nil)
}

func TestChainSilent_oneLostAnswerCostsNobodyTheManagedIdentity(t *testing.T) {
	for name, transport := range map[string]func(*fakeIMDS) policy.Transporter{
		"a transport that hides its connections": func(f *fakeIMDS) policy.Transporter { return f },
		"one that shows them": func(f *fakeIMDS) policy.Transporter {
			return &http.Client{Transport: wire{FakeIMDS: f, Connect: func(*http.Request) error { return nil }}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				blankEnvironment(t)
				f := &fakeIMDS{Script: lostUntil(1), Began: time.Now()}
				o := ManagedIdentityCredentialOptions{}
				o.Transport = transport(f)
				m, err := NewManagedIdentityCredential(&o)
				require.NoError(t, err)
				m.gate.ShowConnections(name == "one that shows them")
				var calls atomic.Int32
				c := chainOf(t, nil, m, otherOfAnHour(&calls))
				for _, r := range getAll(ctx0, c, vault, vault, "https://b/.default") {
					require.NoError(t, r.Err)
					require.Equal(t, secretToken, r.Token.Token)
					require.LessOrEqual(t, r.Took, 6*time.Second)
				}
				require.Zero(t, calls.Load())
				require.Zero(t, c.winner.Load().until, "it is no stopgap")
			})
		})
	}
}

func TestChainSilent_anotherLinksTokenIsAStopgap(t *testing.T) {
	for _, row := range []struct {
		name  string
		later script // from the second asking on
		want  string
	}{
		{"the endpoint answers then", nil, secretToken},
		{"it is silent still", lostUntil(1 << 20), othersToken},
		{"it is not there then", func(int, *http.Request) (*http.Response, error) { return nil, errRefused }, othersToken},
		{"it is there and fails", func(_ int, r *http.Request) (*http.Response, error) { return imdsStatus(r, 403), nil }, othersToken},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var calls atomic.Int32
				var again atomic.Bool
				f, m := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
					if !again.Load() {
						return nil, delayed(r, time.Hour)
					} else if row.later != nil {
						return row.later(n, r)
					}
					return nil, nil
				})
				j := &journal{}
				c := chainOf(t, &ChainedTokenCredentialOptions{Logger: j.logger()}, m, otherOfAnHour(&calls))
				first := get(ctx0, c, vault)
				require.NoError(t, first.Err)
				require.Equal(t, othersToken, first.Token.Token)
				require.GreaterOrEqual(t, first.Took, 10*time.Second)
				require.LessOrEqual(t, first.Took, 21*time.Second)
				synctest.Wait()
				sent := len(f.Requests())
				require.GreaterOrEqual(t, sent, 2, "a second connection was silent too")

				due := first.Token.ExpiresOn.Add(-5 * time.Minute)
				sleepUntil(due.Add(-time.Second))
				again.Store(true)
				require.Equal(t, othersToken, get(ctx0, c, vault).Token.Token)
				synctest.Wait()
				require.Len(t, f.Requests(), sent, "before the token is due, nobody is asked")
				require.Len(t, j.of("credential chosen"), 1)

				sleepUntil(due.Add(time.Second))
				r := get(ctx0, c, vault)
				require.NoError(t, r.Err)
				require.LessOrEqual(t, r.Took, 2*time.Second)
				require.Equal(t, row.want, r.Token.Token)
				require.Len(t, j.of("the links before the chosen credential are asked again, since one of them had said nothing"), 1)
				time.Sleep(time.Minute)
				require.Equal(t, row.want, get(ctx0, c, vault).Token.Token)
				if row.want == secretToken {
					require.Len(t, j.of("credential chosen"), 2)
					require.Zero(t, c.winner.Load().until)
				}
				require.Len(t, j.of("the links before the chosen credential are asked again, since one of them had said nothing"), 1)
				if row.name == "it is silent still" {
					time.Sleep(10 * time.Minute)
					again.Store(false)
					require.Equal(t, othersToken, get(ctx0, c, vault).Token.Token)
					require.Len(t, j.of("the links before the chosen credential are asked again, since one of them had said nothing"), 2)
				}
			})
		})
	}
}

// Where the network says that nobody is there, the next link is kept for good.
func TestChainSilent_aRefusedConnectionIsNoSilence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var calls atomic.Int32
		var up atomic.Bool
		f, m := newFakeIMDS(t, testkit.Switched(&up))
		c := chainOf(t, nil, m, otherOfAnHour(&calls))
		require.Equal(t, othersToken, get(ctx0, c, vault).Token.Token)
		synctest.Wait()
		sent := len(f.Requests())
		up.Store(true)
		time.Sleep(2 * time.Hour)
		require.Equal(t, othersToken, get(ctx0, c, vault).Token.Token)
		require.Len(t, f.Requests(), sent)
	})
}

// silentThen is a link that says nothing at first, and later does something else.
type silentThen struct {
	calls atomic.Int32
	later func(context.Context) (azcore.AccessToken, error)
}

func (s *silentThen) GetToken(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if s.calls.Add(1) == 1 {
		return azcore.AccessToken{}, &CredentialUnavailableError{Reason: ReasonAbsent, message: "silent", silent: true}
	}
	return s.later(ctx)
}

func TestChainSilent_aLinkThatCrashesWhenItIsAskedAgainChangesNothing(t *testing.T) {
	for way, how := range waysToCrash {
		t.Run(way, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var calls atomic.Int32
				j := &journal{}
				s := &silentThen{later: func(context.Context) (azcore.AccessToken, error) { how(); return azcore.AccessToken{}, nil }}
				c := chainOf(t, &ChainedTokenCredentialOptions{Logger: j.logger()}, s, otherOfAnHour(&calls))
				require.Equal(t, othersToken, get(ctx0, c, vault).Token.Token)
				time.Sleep(56 * time.Minute)
				for range 10 {
					r := get(ctx0, c, vault)
					require.Equal(t, othersToken, r.Token.Token)
					require.Zero(t, r.Took)
				}
				require.EqualValues(t, 2, s.calls.Load(), "it is not asked at each call")
				synctest.Wait()
				require.Len(t, j.of("panic"), 1)
				require.NotContains(t, j.text(), panicSecret)
				time.Sleep(6 * time.Minute)
				s.later = func(context.Context) (azcore.AccessToken, error) { return azcore.AccessToken{Token: secretToken}, nil }
				require.Equal(t, secretToken, get(ctx0, c, vault).Token.Token, "but again after a while")
			})
		})
	}
}

func TestChainSilent_isUnavailableThatPanicsBehindTheCallersBackChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var calls atomic.Int32
		var panics atomic.Bool
		s := &silentThen{later: func(context.Context) (azcore.AccessToken, error) { return azcore.AccessToken{}, errHard }}
		c := chainOf(t, &ChainedTokenCredentialOptions{IsUnavailable: func(error) bool {
			if panics.Load() {
				panic(panicSecret)
			}
			return true
		}}, s, otherOfAnHour(&calls))
		require.Equal(t, othersToken, get(ctx0, c, vault).Token.Token)
		time.Sleep(56 * time.Minute)
		panics.Store(true)
		require.Equal(t, othersToken, get(ctx0, c, vault).Token.Token)
	})
}

func TestChainSilent_nobodyWaitsLongForTheLinksThatAreAskedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var calls atomic.Int32
		s := &silentThen{later: func(ctx context.Context) (azcore.AccessToken, error) {
			select {
			case <-time.After(time.Minute):
				return azcore.AccessToken{Token: secretToken}, nil
			case <-ctx.Done():
				return azcore.AccessToken{}, ctx.Err()
			}
		}}
		c := chainOf(t, nil, s, otherOfAnHour(&calls))
		require.Equal(t, othersToken, get(ctx0, c, vault).Token.Token)
		time.Sleep(56 * time.Minute)
		var all sync.WaitGroup
		var most atomic.Int64
		for range 10 {
			all.Go(func() {
				given := []string{vault}
				began := time.Now()
				got, err := c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: given})
				given[0] = "the caller's own again" // while the links are asked still
				require.NoError(t, err)
				require.Equal(t, othersToken, got.Token)
				most.Store(max(most.Load(), int64(time.Since(began))))
			})
		}
		all.Wait()
		require.LessOrEqual(t, time.Duration(most.Load()), 2*time.Second)
		require.EqualValues(t, 2, s.calls.Load(), "they are asked once for all")
		time.Sleep(2 * time.Minute)
		require.Equal(t, secretToken, get(ctx0, c, vault).Token.Token)
	})
}

// scopesSeen is a link that is not there, and keeps the last scope.
type scopesSeen struct{ scope atomic.Value }

func (s *scopesSeen) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	s.scope.Store(o.Scopes[0])
	return azcore.AccessToken{}, errNotHere
}

// The scopes are those of the call, though its caller has left and uses them for something else.
func TestChainSilent_theScopesOfTheCallAreAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var calls atomic.Int32
		release := make(chan struct{})
		first := &silentThen{later: func(context.Context) (azcore.AccessToken, error) { <-release; return azcore.AccessToken{}, errNotHere }}
		second := &scopesSeen{}
		c := chainOf(t, nil, first, second, otherOfAnHour(&calls))
		require.Equal(t, othersToken, get(ctx0, c, vault).Token.Token)
		time.Sleep(56 * time.Minute)
		given := []string{vault}
		_, err := c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: given})
		require.NoError(t, err)
		given[0] = "another"
		close(release)
		synctest.Wait()
		require.Equal(t, vault, second.scope.Load())
	})
}

// A nested chain's stopgap is one of the outer chain too.
func TestChainSilent_inANestedChain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var calls, others atomic.Int32
		s := &silentThen{later: func(context.Context) (azcore.AccessToken, error) { return azcore.AccessToken{Token: secretToken}, nil }}
		inner := chainOf(t, nil, s, answering(&calls, "", errNotHere))
		c := chainOf(t, nil, inner, otherOfAnHour(&others))
		require.Equal(t, othersToken, get(ctx0, c, vault).Token.Token)
		require.NotZero(t, c.winner.Load().until)
		time.Sleep(56 * time.Minute)
		require.Equal(t, secretToken, get(ctx0, c, vault).Token.Token)
	})
}

func TestChain_anEndedContextGetsNoReasonOfALinkThatWasPassedOver(t *testing.T) {
	for _, row := range []struct {
		name  string
		ctx   func() (context.Context, context.CancelFunc)
		is    error
		links func(t *testing.T) azcore.TokenCredential
	}{
		{"canceled before, the default chain", canceled, context.Canceled, func(t *testing.T) azcore.TokenCredential {
			return newDefault(t, DefaultAzureCredentialOptions{})
		}},
		{"expired before, the default chain", expired, context.DeadlineExceeded, func(t *testing.T) azcore.TokenCredential {
			return newDefault(t, DefaultAzureCredentialOptions{})
		}},
		{"expires at a silent IMDS, the default chain", within(2 * time.Second), context.DeadlineExceeded, func(t *testing.T) azcore.TokenCredential {
			f := &fakeIMDS{Script: lostUntil(1 << 20)}
			return newDefault(t, DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: f}})
		}},
		{"canceled before, a chain of foreign links", canceled, context.Canceled, func(t *testing.T) azcore.TokenCredential {
			return chainOf(t, nil, foreign(func(context.Context) (string, error) { return "", errNotHere }), other{})
		}},
		{"canceled before, a chain in a chain", canceled, context.Canceled, func(t *testing.T) azcore.TokenCredential {
			return chainOf(t, nil, newDefault(t, DefaultAzureCredentialOptions{}), other{})
		}},
		{"canceled while a link says that it isn't configured", within(time.Second), context.DeadlineExceeded, func(t *testing.T) azcore.TokenCredential {
			return chainOf(t, nil, foreign(func(ctx context.Context) (string, error) {
				<-ctx.Done()
				return "", &CredentialUnavailableError{Reason: ReasonConfiguration, message: "not configured"}
			}), other{})
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				blankEnvironment(t)
				c := row.links(t)
				ctx, cancel := row.ctx()
				defer cancel()
				r := get(ctx, c, vault)
				require.ErrorIs(t, r.Err, row.is)
				require.IsType(t, &AuthenticationFailedError{}, r.Err)
				reason := asCredentialError(t, r.Err)
				if row.name == "expires at a silent IMDS, the default chain" {
					require.NotEqual(t, ReasonConfiguration, reason)
				} else {
					require.Empty(t, reason)
				}
				require.NotContains(t, r.Err.Error(), "configur")
			})
		})
	}
}

func canceled() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx0)
	cancel()
	return ctx, cancel
}

func expired() (context.Context, context.CancelFunc) { return context.WithTimeout(ctx0, -1) }
