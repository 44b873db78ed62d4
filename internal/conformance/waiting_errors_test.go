package conformance

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
)

// What was going on stands in the error of a caller whose context ended.
func TestWaiting_theErrorOfWhoLeavesSaysWhatWasGoingOn(t *testing.T) {
	const s = time.Second
	const before, expired = "ManagedIdentityCredential: IMDS: no token before the caller's context ended", ": context deadline exceeded"
	silent := func(_ int, r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Hour) }
	for _, row := range []struct {
		name     string
		script   script
		first    int // other scopes that are asked for before
		wait     time.Duration
		deadline time.Duration
		line     string // a regular expression
		reason   managedid.Reason
	}{
		{"at once", silent, 0, 0, 1, before + expired, ""},
		{"nothing has answered", silent, 0, 0, 2 * s, before + ` \(nothing has answered at 169\.254\.169\.254 for 2s\)` + expired, managedid.ReasonNotReady},
		{"the last failure", func(_ int, r *http.Request) (*http.Response, error) { return imdsStatus(r, 500), nil }, 0, 0, s / 2,
			before + ` \(the endpoint's last failure: 500 Internal Server Error\)` + expired, managedid.ReasonNotReady},
		{"refused", func(int, *http.Request) (*http.Response, error) { return nil, errRefused }, 0, 0, s / 2,
			before + ` \(the endpoint's last failure: dial: connection refused\)` + expired, managedid.ReasonAbsent},
		{"another request is late", silent, 1, 0, s / 2, before + ` \(another request to the endpoint is late\)` + expired, managedid.ReasonNotReady},
		{"others are ahead", silent, 6, 0, s / 2, before + ` \([45] requests were ahead\)` + expired, managedid.ReasonNotReady},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, c := newFakeIMDS(t, row.script)
				ctx, cancel := context.WithCancel(ctx0)
				var others sync.WaitGroup
				for i, scope := range scopes(row.first) {
					others.Go(func() {
						limited, cancel := context.WithTimeout(ctx, time.Minute-time.Duration(i)*s)
						defer cancel()
						get(limited, c, scope)
					})
				}
				synctest.Wait()
				deadline := row.deadline
				if row.first > 1 {
					deadline = 0
				}
				var r result
				if deadline > 0 {
					limited, cancel := context.WithTimeout(ctx0, deadline)
					r = get(limited, c, vault)
					cancel()
				} else { // without a deadline it is the last in the queue
					limited, cancel := context.WithCancelCause(ctx0)
					time.AfterFunc(row.deadline, func() { cancel(nil) })
					r = get(limited, c, vault)
					row.line = before + ` \([456] requests were ahead\): context canceled`
				}
				require.Regexp(t, "^"+row.line, r.Err.Error())
				require.Equal(t, row.reason, asCredentialError(t, r.Err))
				cancel()
				others.Wait()
			})
		})
	}
}

func TestWaiting_atTheEndpointsLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c := newFakeIMDS(t, nil)
		require.NoError(t, get(ctx0, c, vault).Err)
		time.Sleep(2 * time.Second)
		ctx, cancel := context.WithCancel(ctx0)
		var all sync.WaitGroup
		for _, scope := range scopes(100) {
			all.Go(func() {
				limited, cancel := context.WithTimeout(ctx, 20*time.Second)
				defer cancel()
				get(limited, c, scope)
			})
		}
		synctest.Wait()
		last, leave := context.WithCancel(ctx0)
		time.AfterFunc(time.Second/2, leave)
		err := get(last, c, "https://last/.default").Err
		require.ErrorIs(t, err, context.Canceled)
		require.Contains(t, err.Error(), "(80 requests were ahead at the endpoint's limit of 20 a second)")
		require.Equal(t, managedid.ReasonThrottled, asCredentialError(t, err))
		cancel()
		all.Wait()
	})
}

func TestWaiting_behindAClosedGate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		began := time.Now()
		_, c := newFakeIMDS(t, throttledOnce("Retry-After", "60"))
		ctx, cancel := context.WithCancel(ctx0)
		time.AfterFunc(10*time.Second, cancel)
		err := get(ctx, c, vault).Err
		require.ErrorIs(t, err, context.Canceled)
		require.Contains(t, err.Error(), "(the endpoint asked for a pause; the endpoint's last failure: 429 Too Many Requests)")
		require.Equal(t, managedid.ReasonThrottled, asCredentialError(t, err))
		requireJittered(t, time.Minute, err.(*managedid.AuthenticationFailedError).RetryAfter.Sub(began))
	})
}

// Its own request is on the wire, so that its answer may come before the deadline.
func TestWaiting_whoseRequestIsOnTheWireIsNotThrottledByAnothers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
			switch r.URL.Query().Get("resource") {
			case "https://a":
				return imdsStatus(r, 429, "Retry-After", "60"), delayed(r, 200*time.Millisecond)
			case "https://b":
				return nil, delayed(r, time.Second)
			}
			return nil, nil
		})
		require.NoError(t, get(ctx0, c, vault).Err)
		ctx, cancel := within(10 * time.Second)()
		defer cancel()
		r := getAll(ctx, c, "https://a", "https://b")
		require.Equal(t, managedid.ReasonThrottled, asCredentialError(t, r[0].Err))
		require.NoError(t, r[1].Err)
		require.Equal(t, time.Second, r[1].Took)
	})
}

// A call that begins after an outage's end has its token within seconds, whatever the outage was and however long.
func TestRecovery_callsThatBeginAfterAnOutage(t *testing.T) {
	kinds := map[string]script{
		"500": func(_ int, r *http.Request) (*http.Response, error) { return imdsStatus(r, 500), nil },
		"404": func(_ int, r *http.Request) (*http.Response, error) { return imdsStatus(r, 404), nil },
		"429": func(_ int, r *http.Request) (*http.Response, error) { return imdsStatus(r, 429), nil },
		"429, Retry-After 1": func(_ int, r *http.Request) (*http.Response, error) {
			return imdsStatus(r, 429, "Retry-After", "1"), nil
		},
		"503, Retry-After 1": func(_ int, r *http.Request) (*http.Response, error) {
			return imdsStatus(r, 503, "Retry-After", "1"), nil
		},
		"refused": func(int, *http.Request) (*http.Response, error) { return nil, errRefused },
		"silence": func(_ int, r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Hour) },
	}
	for name, down := range kinds {
		for _, proven := range []bool{false, true} {
			for _, long := range []time.Duration{10 * time.Second, 25 * time.Second, 85 * time.Second} {
				t.Run(name, func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						var outage atomic.Bool
						_, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
							if outage.Load() {
								return down(n, r)
							}
							return nil, nil
						})
						if proven {
							require.NoError(t, get(ctx0, c, vault).Err)
						}
						outage.Store(true)
						var all sync.WaitGroup
						var mu sync.Mutex
						failed := map[int]error{}
						end := int(long / time.Second)
						for i := range end + 12 {
							if i == end {
								synctest.Wait()
								outage.Store(false)
							}
							all.Go(func() {
								ctx, cancel := within(5 * time.Second)()
								defer cancel()
								if err := get(ctx, c, scopes(3)[i%3]).Err; err != nil {
									mu.Lock()
									defer mu.Unlock()
									failed[i-end] = err
								}
							})
							time.Sleep(time.Second)
						}
						all.Wait()
						for after, err := range failed {
							require.Less(t, after, 2, "begun so many seconds after the end: %v", err)
						}
					})
				})
			}
		}
	}
}

// Who joins a flight just before it gives up gets one of their own.
func TestRecovery_aFlightThatGivesUpFailsNobodyWhoJustCame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var fine atomic.Bool
		_, c := newFakeIMDSWith(t, func(n int, r *http.Request) (*http.Response, error) {
			if !fine.Load() {
				return imdsStatus(r, 500), delayed(r, 10*time.Second)
			}
			return nil, nil
		}, managedid.ManagedIdentityCredentialOptions{ClientOptions: noRetries})
		var first sync.WaitGroup
		first.Go(func() { get(ctx0, c, vault) }) // which may get the other's token
		time.Sleep(10*time.Second - time.Millisecond)
		fine.Store(true)
		r := get(ctx0, c, vault)
		require.NoError(t, r.Err)
		require.LessOrEqual(t, r.Took, 3*time.Second)
		first.Wait()
	})
}

func TestClaims_theSameChallengeIsAnsweredForHalfAMinute(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{})
		first := getWithClaims(c, claimsA).Token
		time.Sleep(30*time.Second - 1)
		require.True(t, first == getWithClaims(c, claimsA).Token)
		time.Sleep(time.Nanosecond)
		second := getWithClaims(c, claimsA).Token
		require.False(t, first == second, "it was refused again, so it is asked for again")
		require.True(t, second == getWithClaims(c, claimsA).Token)
		require.Equal(t, 2, f.Count())
	})
}
