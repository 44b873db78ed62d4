package managedid

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/tokens"
)

func answered(status int) script {
	return func(_ int, r *http.Request) (*http.Response, error) { return imdsStatus(r, status), nil }
}

// withRetry makes a credential for a fake IMDS with retry options.
func withRetry(t testing.TB, s script, o policy.RetryOptions) (*fakeIMDS, *ManagedIdentityCredential) {
	return newFakeIMDSWith(t, s, ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Retry: o}})
}

func TestRetry_howOftenAndHowLongAfter(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	yes := func(*http.Response, error) bool { return true }
	for _, row := range []struct {
		name        string
		options     policy.RetryOptions
		script      script
		tries       int
		least, most time.Duration // that all took
	}{
		{"zero: IMDS's own", policy.RetryOptions{}, answered(500), 7, 77 * s, 127 * s},
		{"MaxRetries negative", policy.RetryOptions{MaxRetries: -1}, answered(500), 1, 0, 0},
		{"MaxRetries 2, the delay IMDS's", policy.RetryOptions{MaxRetries: 2}, answered(500), 3, 6400 * ms, 10400 * ms},
		{"RetryDelay 10 ms: 1, 3, 7 times that", policy.RetryOptions{MaxRetries: 3, RetryDelay: 10 * ms}, answered(500), 4, 88 * ms, 143 * ms},
		{"RetryDelay negative: none", policy.RetryOptions{MaxRetries: 3, RetryDelay: -1}, answered(500), 4, 0, 50 * ms},
		{"MaxRetryDelay cuts", policy.RetryOptions{MaxRetries: 4, RetryDelay: s, MaxRetryDelay: 1500 * ms}, answered(500), 5, 5300 * ms, 11 * s},
		{"MaxRetryDelay negative: none", policy.RetryOptions{MaxRetries: 4, RetryDelay: s, MaxRetryDelay: -1}, answered(500), 5, 20800 * ms, 33800 * ms},
		{"RetryDelay beyond all bounds", policy.RetryOptions{MaxRetries: 2, RetryDelay: math.MaxInt64, MaxRetryDelay: -1}, answered(500), 1, 180 * s, 180 * s},
		{"StatusCodes without this one", policy.RetryOptions{StatusCodes: []int{503}}, answered(500), 1, 0, 0},
		{"StatusCodes with this one alone", policy.RetryOptions{MaxRetries: 1, RetryDelay: s, StatusCodes: []int{403}}, answered(403), 2, 800 * ms, 1300 * ms},
		{"StatusCodes empty: none", policy.RetryOptions{StatusCodes: []int{}}, answered(500), 1, 0, 0},
		{"StatusCodes empty, and no answer", policy.RetryOptions{MaxRetries: 1, RetryDelay: s, StatusCodes: []int{}},
			func(int, *http.Request) (*http.Response, error) { return nil, errRefused }, 2, 800 * ms, 1300 * ms},
		{"ShouldRetry of what none retries", policy.RetryOptions{MaxRetries: 2, RetryDelay: s, ShouldRetry: yes, StatusCodes: []int{500}}, answered(400), 3, 3200 * ms, 5200 * ms},
		{"ShouldRetry never", policy.RetryOptions{ShouldRetry: func(*http.Response, error) bool { return false }}, answered(500), 1, 0, 0},
		{"TryTimeout", policy.RetryOptions{MaxRetries: -1, TryTimeout: 7 * s},
			func(_ int, r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Hour) }, 1, 7 * s, 7 * s},
		{"TryTimeout negative: none but the flight's", policy.RetryOptions{MaxRetries: -1, TryTimeout: -1},
			func(_ int, r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Hour) }, 1, 180 * s, 180 * s},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f, c := withRetry(t, row.script, row.options)
				r := get(ctx0, c, vault)
				asCredentialError(t, r.Err)
				require.Len(t, f.Requests(), row.tries)
				require.GreaterOrEqual(t, r.Took, row.least)
				require.LessOrEqual(t, r.Took, row.most)
			})
		})
	}
}

func TestRetry_delaysAreNeverNegative(t *testing.T) {
	for _, p := range []retryPolicy{
		{options: resolved(policy.RetryOptions{RetryDelay: math.MaxInt64, MaxRetryDelay: -1}, policy.RetryOptions{})},
		{options: resolved(policy.RetryOptions{RetryDelay: math.MaxInt64, MaxRetryDelay: math.MaxInt64}, policy.RetryOptions{})},
		{options: resolved(policy.RetryOptions{RetryDelay: time.Hour}, policy.RetryOptions{})},
	} {
		for retries := range int32(100) {
			require.Positive(t, p.delay(retries+1))
		}
	}
}

// azcore keeps the options that WithRetryOptions sets in the caller's context, which a flight doesn't run under.
func TestRetry_aCallersContextHasNoSay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := withRetry(t, answered(500), policy.RetryOptions{MaxRetries: 1, RetryDelay: time.Millisecond})
		ctx := policy.WithRetryOptions(ctx0, policy.RetryOptions{MaxRetries: 9, RetryDelay: time.Millisecond})
		asCredentialError(t, get(ctx, c, vault).Err)
		require.Len(t, f.Requests(), 2)
	})
}

func TestRetry_policiesRunOnceARequestAndOnceATry(t *testing.T) {
	for _, row := range []struct {
		name            string
		script          script
		perCall, perTry int32
	}{
		{"two retries", func(n int, r *http.Request) (*http.Response, error) {
			if n < 2 {
				return respond(r, 500, ""), nil
			}
			return nil, nil
		}, 1, 3},
		{"a hedge", func(n int, r *http.Request) (*http.Response, error) {
			if n == 0 {
				return nil, delayed(r, time.Hour)
			}
			return nil, nil
		}, 2, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var perCall, perTry atomic.Int32
				counting := func(n *atomic.Int32) policy.Policy {
					return policyFunc(func(r *policy.Request) (*http.Response, error) { n.Add(1); return r.Next() })
				}
				f := &fakeEntra{Script: row.script}
				c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{ClientOptions: azcore.ClientOptions{
					PerCallPolicies: []policy.Policy{counting(&perCall)}, PerRetryPolicies: []policy.Policy{counting(&perTry)}}})
				require.NoError(t, get(ctx0, c, vault).Err)
				synctest.Wait()
				require.Equal(t, []int32{row.perCall, row.perTry}, []int32{perCall.Load(), perTry.Load()})
				require.Equal(t, int(row.perTry), f.Count())
				for _, form := range f.Forms {
					require.Equal(t, f.Forms[0], form, "the body is sent whole")
					require.Equal(t, someSecret, form.Get("client_secret"))
				}
				for _, r := range f.Sent {
					require.Equal(t, f.Sent[0].ContentLength, r.ContentLength)
					require.Equal(t, f.Sent[0].Header.Get("Content-Type"), r.Header.Get("Content-Type"))
				}
			})
		})
	}
}

// addsToTheBody is a policy that sends something more.
func addsToTheBody(r *policy.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body())
	if err != nil {
		return nil, err
	}
	if err := r.SetBody(streaming.NopCloser(strings.NewReader(string(body)+"&more=1")), "application/x-www-form-urlencoded"); err != nil {
		return nil, err
	}
	return r.Next()
}

func TestRetry_aPolicyMayReplaceTheBody(t *testing.T) {
	for _, per := range []string{"call", "try"} {
		for name, first := range map[string]func(*http.Request) (*http.Response, error){
			"retried": func(r *http.Request) (*http.Response, error) { return respond(r, 500, ""), nil },
			"hedged":  func(r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Hour) },
		} {
			t.Run("per "+per+", "+name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					f := &fakeEntra{Script: func(n int, r *http.Request) (*http.Response, error) {
						if n == 0 {
							return first(r)
						}
						return nil, nil
					}}
					o := ClientSecretCredentialOptions{}
					if adds := []policy.Policy{policyFunc(addsToTheBody)}; per == "call" {
						o.PerCallPolicies = adds
					} else {
						o.PerRetryPolicies = adds
					}
					require.NoError(t, get(ctx0, newSecret(t, f, someTenant, someClient, someSecret, o), vault).Err)
					require.Equal(t, 2, f.Count())
					for _, form := range f.Forms {
						require.Equal(t, []string{"1"}, form["more"], "once, in each")
						require.Equal(t, someSecret, form.Get("client_secret"))
					}
				})
			})
		}
	}
}

func TestRetry_aPolicyMayReplaceTheContext(t *testing.T) {
	type key struct{}
	for name, replace := range map[string]func(context.Context) context.Context{
		"a value":         func(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, 1) },
		"without its end": context.WithoutCancel,
		"another one":     func(context.Context) context.Context { return ctx0 },
		"other retrying": func(ctx context.Context) context.Context {
			return policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: -1})
		},
		"another for both": func(context.Context) context.Context {
			return context.WithValue(context.Background(), crashedKey{}, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			replaces := policyFunc(func(r *policy.Request) (*http.Response, error) {
				return r.Clone(replace(r.Raw().Context())).Next()
			})
			with := func(s script) (*fakeIMDS, *ManagedIdentityCredential) {
				return newFakeIMDSWith(t, s, ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{
					PerCallPolicies: []policy.Policy{replaces}, Retry: policy.RetryOptions{MaxRetries: 2, RetryDelay: time.Second}}})
			}
			t.Run("retried", func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					f, c := with(func(n int, r *http.Request) (*http.Response, error) {
						if n < 2 {
							return imdsStatus(r, 500), nil
						}
						return nil, nil
					})
					require.NoError(t, get(ctx0, c, vault).Err)
					require.Len(t, f.Requests(), 3)
				})
			})
			t.Run("the flight's three minutes bound all", func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					f, c := with(func(_ int, r *http.Request) (*http.Response, error) {
						return imdsStatus(r, 429, "Retry-After", "10"), nil
					})
					asCredentialError(t, get(ctx0, c, vault).Err)
					time.Sleep(10 * time.Second)
					sent := len(f.Requests())
					time.Sleep(time.Hour)
					require.Len(t, f.Requests(), sent, "nothing is sent for nobody")
				})
			})
		})
	}
}

func TestRetry_aPolicyMayAnswerItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, per := range []string{"call", "try"} {
			answers := []policy.Policy{policyFunc(func(r *policy.Request) (*http.Response, error) { return imdsToken(r.Raw(), time.Hour), nil })}
			o := ManagedIdentityCredentialOptions{}
			if per == "call" {
				o.PerCallPolicies = answers
			} else {
				o.PerRetryPolicies = answers
			}
			f, c := newFakeIMDSWith(t, nil, o)
			for _, r := range getAll(ctx0, c, scopes(3)...) {
				if per == "try" {
					require.NoError(t, r.Err)
				} // per call, nothing shows that anything is there
			}
			require.Empty(t, f.Requests())
			require.Zero(t, c.gate.Status().Users)
		}
	})
}

// A policy may take its time before it changes the request, and so may be at that when the try's time is over.
func TestRetry_theTrysLimitLooksAtNothingThatAPolicyStillChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		slow := policyFunc(func(r *policy.Request) (*http.Response, error) {
			for i := range 1000 {
				time.Sleep(10 * time.Millisecond)
				r.Raw().Header.Set(fmt.Sprintf("X-%d", i), "v")
			}
			return r.Next()
		})
		_, c := newFakeIMDSWith(t, nil, ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{PerRetryPolicies: []policy.Policy{slow},
			Retry: policy.RetryOptions{MaxRetries: -1, TryTimeout: time.Second}}})
		r := get(ctx0, c, vault)
		asCredentialError(t, r.Err)
		require.Equal(t, time.Second, r.Took)
	})
}

func TestRetry_aPauseUsesUpNoTry(t *testing.T) {
	for _, k := range []int{3, 6, 20} {
		t.Run(fmt.Sprintf("%d times", k), func(t *testing.T) {
			pauses := func(n int, r *http.Request) (*http.Response, error) {
				if n < k {
					return imdsStatus(r, 429, "Retry-After", "1"), nil
				}
				return nil, nil
			}
			for name, get := range map[string]func(t *testing.T) result{
				"IMDS": func(t *testing.T) result { _, c := newFakeIMDS(t, pauses); return get(ctx0, c, vault) },
				"Entra": func(t *testing.T) result {
					return get(ctx0, newSecret(t, &fakeEntra{Script: pauses}, someTenant, someClient, someSecret, ClientSecretCredentialOptions{}), vault)
				},
			} {
				t.Run(name, func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						r := get(t)
						require.NoError(t, r.Err)
						require.LessOrEqual(t, r.Took, time.Duration(1.35*float64(k)*float64(time.Second))+time.Second/2)
						require.GreaterOrEqual(t, r.Took, time.Duration(k)*time.Second)
					})
				})
			}
		})
	}
}

func TestRetry_whoGivesUpSaysHowOftenAndHowLongItTried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c := withRetry(t, answered(500), policy.RetryOptions{MaxRetries: 2, RetryDelay: 10 * time.Second, MaxRetryDelay: 10 * time.Second})
		require.Regexp(t, `, 3 tries in (1[6-9]|20)s\)`, get(ctx0, c, vault).Err.Error())
	})
}

// At most three minutes, whatever the options say.
func TestRetry_theFlightsLimitHolds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := withRetry(t, answered(500), policy.RetryOptions{MaxRetries: 1 << 20, RetryDelay: 20 * time.Second, MaxRetryDelay: 20 * time.Second})
		r := get(ctx0, c, vault)
		require.Equal(t, ReasonNotReady, asCredentialError(t, r.Err))
		require.Equal(t, tokens.FlightLimit, r.Took)
		time.Sleep(time.Second)
		sent := len(f.Requests())
		time.Sleep(time.Hour)
		require.Len(t, f.Requests(), sent)
	})
}

// Someone who comes while a flight rests has a try made for them, within a second or two; that costs the flight none
// of its own.
func TestRetry_aCallerWhoComesWakesAFlightThatRests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		up := false
		f, c := withRetry(t, func(_ int, r *http.Request) (*http.Response, error) {
			if up {
				return nil, nil
			}
			return imdsStatus(r, 500), nil
		}, policy.RetryOptions{MaxRetries: 1, RetryDelay: time.Minute, MaxRetryDelay: time.Minute})
		var first sync.WaitGroup
		first.Go(func() {
			r := get(ctx0, c, vault)
			require.NoError(t, r.Err)
			require.LessOrEqual(t, r.Took, 30*time.Second)
		})
		time.Sleep(10 * time.Second)
		require.Len(t, f.Requests(), 1)
		ctx, cancel := context.WithTimeout(ctx0, 5*time.Second)
		require.Error(t, get(ctx, c, vault).Err)
		cancel()
		require.Len(t, f.Requests(), 2, "a try for who came")
		up = true
		time.Sleep(time.Second)
		r := get(ctx0, c, vault)
		require.NoError(t, r.Err)
		require.LessOrEqual(t, r.Took, 2*time.Second)
		first.Wait()
		require.Len(t, f.Requests(), 3)
	})
}
