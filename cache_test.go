package managedid

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/internal/tokens"
)

func TestCache_thousandCallersCostOneRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Second) })
		for _, r := range getAll(ctx0, c, slices.Repeat([]string{vault}, 1000)...) {
			require.NoError(t, r.Err)
			require.Equal(t, time.Second, r.Took)
		}
		require.Len(t, f.Requests(), 1)
	})
}

func TestCache_isSharedByCredentialsAndByScopesOfOneResource(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDS(t, nil)
		other, err := NewManagedIdentityCredential(&ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: f},
			Cache: nil})
		require.NoError(t, err)
		require.NoError(t, get(ctx0, c, vault).Err)
		require.NoError(t, get(ctx0, c, "https://vault.azure.net").Err)
		require.Len(t, f.Requests(), 1)
		require.NoError(t, get(ctx0, other, vault).Err) // its Transport gives it a private cache
		require.Len(t, f.Requests(), 2)
		for range 3 {
			require.NoError(t, get(ctx0, other, vault).Err)
		}
		require.Len(t, f.Requests(), 2)
	})
}

// exactCache refreshes five minutes before the expiry, not some more at random.
func exactCache() *TokenCache {
	return NewTokenCache(&TokenCacheOptions{RefreshBefore: tokens.DefaultRefreshBefore})
}

func TestCache_refreshesAtARandomTimeNeverLate(t *testing.T) {
	for _, row := range []struct{ life, most time.Duration }{{time.Hour, 5 * time.Minute}, {24 * time.Hour, 5 * time.Minute}, {10 * time.Minute, time.Minute}} {
		t.Run(row.life.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, c := newFakeIMDS(t, func(_ int, r *http.Request) (*http.Response, error) { return imdsToken(r, row.life), nil })
				earliest, latest := row.most, time.Duration(0)
				for i := range 1000 { // resources, as it might be processes
					got := get(ctx0, c, fmt.Sprintf("api://%d", i)).Token
					extra := got.ExpiresOn.Sub(got.RefreshOn) - 5*time.Minute
					require.GreaterOrEqual(t, extra, time.Duration(0))
					require.LessOrEqual(t, extra, row.most)
					earliest, latest = min(earliest, extra), max(latest, extra)
				}
				require.Less(t, earliest, row.most/10)
				require.Greater(t, latest, row.most*9/10)
			})
		})
	}
}

func TestCache_refreshesFiveMinutesBeforeExpiryBehindTheCallersBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDSWith(t, func(n int, r *http.Request) (*http.Response, error) { return nil, delayed(r, 500*time.Millisecond) },
			ManagedIdentityCredentialOptions{Cache: exactCache()})
		first := get(ctx0, c, vault)
		require.NoError(t, first.Err)
		require.Equal(t, first.Token.ExpiresOn.Add(-5*time.Minute), first.Token.RefreshOn)

		sleepUntil(first.Token.RefreshOn.Add(-time.Nanosecond))
		require.Equal(t, first.Token, get(ctx0, c, vault).Token)
		synctest.Wait()
		require.Len(t, f.Requests(), 1)

		sleepUntil(first.Token.RefreshOn)
		for range 100 { // while the refresh takes its 500 ms
			r := get(ctx0, c, vault)
			require.Equal(t, first.Token, r.Token)
			require.Zero(t, r.Took)
		}
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		require.Len(t, f.Requests(), 2)
		second := get(ctx0, c, vault)
		require.True(t, second.Token.ExpiresOn.After(first.Token.ExpiresOn))
		require.Zero(t, second.Took)
	})
}

func TestCache_refreshTimes(t *testing.T) {
	for _, row := range []struct {
		name      string
		body      string // %s is an expires_on in one hour
		options   TokenCacheOptions
		refreshed time.Duration
	}{
		{"refresh_in earlier than five minutes before the expiry", `,"refresh_in":"600"`, TokenCacheOptions{}, 10 * time.Minute},
		{"refresh_in later", `,"refresh_in":3590`, TokenCacheOptions{RefreshBefore: 5 * time.Minute}, 55 * time.Minute},
		{"RefreshBefore", ``, TokenCacheOptions{RefreshBefore: 20 * time.Minute}, 40 * time.Minute},
		{"RefreshBefore below five minutes", ``, TokenCacheOptions{RefreshBefore: time.Second}, 55 * time.Minute},
		{"refresh_in earlier than RefreshBefore", `,"refresh_in":60`, TokenCacheOptions{RefreshBefore: 20 * time.Minute}, time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f, c := newFakeIMDSWith(t, func(n int, r *http.Request) (*http.Response, error) {
					expires := strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)
					return respond(r, 200, `{"access_token":"t","expires_on":`+expires+row.body+`}`, "Server", "IMDS/1"), nil
				}, ManagedIdentityCredentialOptions{Cache: NewTokenCache(&row.options)})
				began := time.Now()
				require.NoError(t, get(ctx0, c, vault).Err)
				for _, step := range []struct {
					at       time.Duration
					requests int
				}{{row.refreshed - time.Nanosecond, 1}, {row.refreshed, 2}} {
					sleepUntil(began.Add(step.at))
					require.NoError(t, get(ctx0, c, vault).Err)
					synctest.Wait()
					require.Len(t, f.Requests(), step.requests)
				}
			})
		})
	}
}

func TestCache_waitsForTheRefreshWithUnderTwoMinutesLeft(t *testing.T) {
	for _, row := range []struct {
		name        string
		left, delay time.Duration // of the token, of the endpoint
		took        time.Duration
		renewed     bool
	}{
		{"two minutes left: nobody waits", 2 * time.Minute, time.Second, 0, false},
		{"a moment less: the caller waits", 2*time.Minute - time.Nanosecond, time.Second, time.Second, true},
		{"two seconds at most", time.Minute, time.Hour, 2 * time.Second, false},
		{"not up to the expiry", time.Second, 1500 * time.Millisecond, time.Second - tokens.LastMoment, false},
		{"not at all in the last moment", tokens.LastMoment, time.Second, 0, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
					if n == 0 {
						return nil, nil
					}
					return nil, delayed(r, row.delay)
				})
				first := get(ctx0, c, vault)
				sleepUntil(first.Token.ExpiresOn.Add(-row.left))
				second := get(ctx0, c, vault)
				require.NoError(t, second.Err)
				require.Equal(t, row.took, second.Took)
				require.Equal(t, row.renewed, second.Token.ExpiresOn.After(first.Token.ExpiresOn))
			})
		})
	}
}

func TestCache_waitCountsFromTheRefreshsBeginAndEndsWithTheCallersContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
			return nil, delayed(r, time.Duration(n)*time.Minute)
		})
		first := get(ctx0, c, vault)
		sleepUntil(first.Token.ExpiresOn.Add(-time.Minute))
		var others sync.WaitGroup
		others.Go(func() { require.Equal(t, 2*time.Second, get(ctx0, c, vault).Took) })
		time.Sleep(1500 * time.Millisecond)
		others.Go(func() { require.Equal(t, 500*time.Millisecond, get(ctx0, c, vault).Took) })
		others.Go(func() {
			ctx, cancel := context.WithTimeout(ctx0, 100*time.Millisecond)
			defer cancel()
			r := get(ctx, c, vault)
			require.Equal(t, 100*time.Millisecond, r.Took)
			require.Equal(t, first.Token, r.Token) // still valid, so better than an error
		})
		others.Wait()
		time.Sleep(time.Second)
		require.Zero(t, get(ctx0, c, vault).Took) // more than two seconds after the refresh began
	})
}

func TestCache_servesUntilTheExpiryWithTheEndpointDownAndNeverAfter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDSWith(t, func(n int, r *http.Request) (*http.Response, error) {
			if n == 0 {
				return nil, nil
			}
			return imdsStatus(r, 500), nil
		}, ManagedIdentityCredentialOptions{ClientOptions: noRetries, Cache: exactCache()})
		first := get(ctx0, c, vault)
		for time.Until(first.Token.ExpiresOn) > 0 {
			r := get(ctx0, c, vault)
			require.NoError(t, r.Err)
			require.LessOrEqual(t, r.Took, tokens.UrgentWait)
			time.Sleep(time.Second)
		}
		require.Equal(t, first.Token.ExpiresOn, time.Now().UTC())
		r := get(ctx0, c, vault)
		require.Equal(t, ReasonNotReady, asCredentialError(t, r.Err))
		require.Empty(t, r.Token)
		// first at 55 min, then each 30 s (a tenth of what is left is less), until the expiry's cold request
		want := []time.Duration{0}
		for at := 55 * time.Minute; at <= time.Hour; at += 30 * time.Second {
			want = append(want, at)
		}
		require.Equal(t, want, f.Requests())
	})
}

func TestCache_pausesAfterARefreshThatBroughtATokenAlreadyDue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		expires := time.Now().Add(20 * time.Minute)
		f, c := newFakeIMDSWith(t, func(n int, r *http.Request) (*http.Response, error) { // the host caches too
			return respond(r, 200, tokenBody("", expires), "Server", "IMDS/1"), nil
		}, ManagedIdentityCredentialOptions{Cache: NewTokenCache(&TokenCacheOptions{RefreshBefore: time.Hour})})
		for time.Until(expires) > 10*time.Minute {
			require.Zero(t, get(ctx0, c, vault).Took)
			time.Sleep(time.Second)
		}
		sent := f.Requests()
		require.Equal(t, []time.Duration{0, 2 * time.Minute, 2*time.Minute + 108*time.Second}, sent[:3]) // tenths of 20 and 18 minutes
	})
}

func TestCache_nobodyWaitsInThePauseOrWhileTheGateIsClosed(t *testing.T) {
	for name, answer := range map[string]func(*http.Request) *http.Response{
		"pause":       func(r *http.Request) *http.Response { return imdsStatus(r, 500) },
		"gate closed": func(r *http.Request) *http.Response { return imdsStatus(r, 429, "Retry-After", "50") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f, c := newFakeIMDSWith(t, func(n int, r *http.Request) (*http.Response, error) {
					if n == 0 {
						return nil, nil
					}
					return answer(r), nil
				}, ManagedIdentityCredentialOptions{ClientOptions: noRetries})
				first := get(ctx0, c, vault)
				sleepUntil(first.Token.ExpiresOn.Add(-time.Minute))
				for range 10 {
					r := get(ctx0, c, vault)
					require.Equal(t, first.Token, r.Token)
					require.Zero(t, r.Took)
				}
				require.Len(t, f.Requests(), 2)
			})
		})
	}
}

func TestCache_waiterLeavesWhenItsContextEndsAndTheFlightGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) { return nil, delayed(r, 2900*time.Millisecond) })
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(ctx0, time.Duration(i+1)*200*time.Millisecond)
				defer cancel()
				r := get(ctx, c, vault)
				require.ErrorIs(t, r.Err, context.DeadlineExceeded)
				asCredentialError(t, r.Err)
				require.Equal(t, time.Duration(i+1)*200*time.Millisecond, r.Took)
			})
		}
		cancelled, cancel := context.WithCancel(ctx0)
		all.Go(func() { require.ErrorIs(t, get(cancelled, c, vault).Err, context.Canceled) })
		time.Sleep(500 * time.Millisecond)
		cancel()
		all.Wait()
		time.Sleep(time.Second)
		require.Zero(t, get(cancelled, c, vault).Took) // a hit needs no context
		require.NoError(t, get(ctx0, c, vault).Err)
		require.Len(t, f.Requests(), 1)
	})
}

func TestCache_failureReachesAllWaitersOnceEachItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDSWith(t, func(n int, r *http.Request) (*http.Response, error) {
			return imdsStatus(r, 500), delayed(r, time.Second)
		}, ManagedIdentityCredentialOptions{ClientOptions: noRetries})
		seen := map[*AuthenticationFailedError]bool{}
		for _, r := range getAll(ctx0, c, slices.Repeat([]string{vault}, 100)...) {
			require.Equal(t, ReasonNotReady, asCredentialError(t, r.Err))
			notOfAContext(t, r.Err)
			require.Equal(t, time.Second, r.Took)
			e, _ := asType[*AuthenticationFailedError](r.Err)
			require.False(t, seen[e])
			seen[e] = true
		}
		require.Len(t, f.Requests(), 1)
	})
}

func TestCache_repeatsADefiniteRefusalForASecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDSWith(t, func(n int, r *http.Request) (*http.Response, error) {
			return respond(r, 400, `{"error":"invalid_resource"}`, "Server", "IMDS/1"), nil
		}, ManagedIdentityCredentialOptions{})
		began := time.Now()
		for time.Since(began) < 10*time.Second {
			require.Equal(t, ReasonInvalidScope, asCredentialError(t, get(ctx0, c, vault).Err))
			time.Sleep(10 * time.Millisecond)
		}
		require.Len(t, f.Requests(), 10)
	})
}

func TestCache_aTransportThatEndsItsGoroutineLeavesNobodyHanging(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
			if n == 0 {
				runtime.Goexit()
			}
			return nil, nil
		})
		asCredentialError(t, get(ctx0, c, vault).Err)
		require.NoError(t, get(ctx0, c, vault).Err)
	})
}

func TestCache_claimsBypassTheHitThroughOneFlight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Second) })
		require.NoError(t, get(ctx0, c, vault).Err)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				_, err := c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: []string{vault}, Claims: `{"access_token":{}}`})
				require.NoError(t, err)
			})
		}
		all.Wait()
		require.Len(t, f.Requests(), 2)
	})
}

// heapNow is what is in use once all is collected that can be.
func heapNow() int64 {
	var m runtime.MemStats
	for least, same := uint64(math.MaxUint64), 0; same < 5; same++ { // cleanups run after a collection, and free what the next one collects
		runtime.GC()
		runtime.Gosched()
		if runtime.ReadMemStats(&m); m.HeapAlloc < least-least/1000 {
			least, same = m.HeapAlloc, 0
		}
	}
	return int64(m.HeapAlloc)
}

// requireKept checks what is kept of each of n things that f does, once they are of no use.
func requireKept(t *testing.T, most, n int, f func(i int), after func()) {
	t.Helper()
	if testkit.Race {
		t.Skip("the race detector keeps memory of its own")
	}
	for i := range 200 { // fill what is made once
		f(-i - 1)
	}
	after()
	before := heapNow()
	for i := range n {
		f(i)
	}
	after()
	kept := (heapNow() - before) / int64(n)
	for i := 0; i < 5 && kept > int64(most); i++ { // what other tests have left goes too
		kept = (heapNow() - before) / int64(n)
	}
	t.Logf("kept of each: %d bytes", kept)
	require.LessOrEqual(t, kept, int64(most))
}

// oneForAll is a Transporter that keeps nothing of a request.
func oneForAll(answer func(r *http.Request) (*http.Response, error)) azcore.ClientOptions {
	return azcore.ClientOptions{Transport: transportFunc(answer), Retry: policy.RetryOptions{MaxRetries: -1}}
}

func refusedTenant(r *http.Request) (*http.Response, error) {
	return respond(r, 400, `{"error":"invalid_request","error_codes":[90002]}`), nil
}

const keptOfEach = 100

func TestBounds_nothingIsKeptOfARefusedTenant(t *testing.T) {
	for name, held := range map[string]bool{"an empty cache": false, "beside a token of a day": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var refuse atomic.Bool
				cache := NewTokenCache(nil)
				o := ClientSecretCredentialOptions{Cache: cache, AdditionallyAllowedTenants: []string{"*"}}
				o.ClientOptions = oneForAll(func(r *http.Request) (*http.Response, error) {
					if refuse.Load() {
						return refusedTenant(r)
					}
					return respond(r, 200, `{"token_type":"Bearer","expires_in":86400,"access_token":"t"}`), nil
				})
				c := newSecret(t, &fakeEntra{}, someTenant, someClient, someSecret, o)
				if held {
					require.NoError(t, get(ctx0, c, vault).Err)
				}
				refuse.Store(true)
				requireKept(t, keptOfEach, 3000, func(i int) {
					_, err := c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: []string{vault}, TenantID: fmt.Sprintf("tenant%d", i+1000)})
					require.Error(t, err)
				}, func() { time.Sleep(2100 * time.Millisecond) }) // a refusal is repeated for a second
				require.Equal(t, held, cache.Stats().Tokens == 1)
				cache.mu.Lock()
				defer cache.mu.Unlock()
				require.LessOrEqual(t, cache.held.Len(), 1)
				runtime.KeepAlive(c)
			})
		})
	}
}

func TestBounds_nothingIsKeptOfATenantsTokenThatHasExpired(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cache := NewTokenCache(nil)
		o := ClientSecretCredentialOptions{Cache: cache, AdditionallyAllowedTenants: []string{"*"}}
		o.ClientOptions = oneForAll(func(r *http.Request) (*http.Response, error) {
			return respond(r, 200, `{"token_type":"Bearer","expires_in":2,"access_token":"t"}`), nil
		})
		c := newSecret(t, &fakeEntra{}, someTenant, someClient, someSecret, o)
		requireKept(t, keptOfEach, 3000, func(i int) {
			_, err := c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: []string{vault}, TenantID: fmt.Sprintf("tenant%d", i+1000)})
			require.NoError(t, err)
		}, func() { time.Sleep(3500 * time.Millisecond) })
		require.Zero(t, cache.Stats().Tokens)
		runtime.KeepAlive(c)
	})
}

func TestBounds_nothingIsKeptOfASecretThatWasNeverUsed(t *testing.T) {
	cache := NewTokenCache(nil)
	o := ClientSecretCredentialOptions{Cache: cache}
	o.ClientOptions = oneForAll(refusedTenant)
	blankEnvironment(t)
	requireKept(t, keptOfEach, 10000, func(i int) {
		_, err := NewClientSecretCredential(someTenant, someClient, fmt.Sprintf("secret %d", i), &o)
		require.NoError(t, err)
	}, func() {})
}

func TestBounds_nothingIsKeptOfASecretThatWasRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cache := NewTokenCache(nil)
		o := ClientSecretCredentialOptions{Cache: cache}
		o.ClientOptions = oneForAll(func(r *http.Request) (*http.Response, error) {
			return respond(r, 401, `{"error":"invalid_client","error_codes":[7000215]}`), nil
		})
		blankEnvironment(t)
		requireKept(t, keptOfEach, 3000, func(i int) {
			c, err := NewClientSecretCredential(someTenant, someClient, fmt.Sprintf("secret %d", i), &o)
			require.NoError(t, err)
			require.Error(t, get(ctx0, c, vault).Err)
		}, func() { time.Sleep(2100 * time.Millisecond) })
	})
}

func TestBounds_scopesThatGaveNothingAreSweptAFewAtEachCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cache := NewTokenCache(nil)
		c, err := NewClientSecretCredential(someTenant, someClient, someSecret, &ClientSecretCredentialOptions{Cache: cache,
			ClientOptions: oneForAll(refusedTenant)})
		require.NoError(t, err)
		requireKept(t, keptOfEach, 3000, func(i int) { require.Error(t, get(ctx0, c, fmt.Sprintf("api://%d", i)).Err) }, func() {
			time.Sleep(1100 * time.Millisecond)
			for i := range 900 {
				require.Error(t, get(ctx0, c, fmt.Sprintf("api://sweep-%d", i%2)+strings.Repeat("x", i)).Err)
			}
			time.Sleep(1100 * time.Millisecond)
			for i := range 900 {
				require.Error(t, get(ctx0, c, fmt.Sprintf("api://sweep-%d", i%2)+strings.Repeat("x", i)).Err)
			}
		})
		runtime.KeepAlive(c)
	})
}

// A credential made anew for each call costs no request while its token is valid, and obeys the pause that an earlier
// one met.
func TestBounds_aCredentialMadeForEachCall(t *testing.T) {
	if testkit.Race {
		t.Skip("it looks into the cache while that may be swept")
	}
	bubble(t, func(t *testing.T) {
		cache, throttle := NewTokenCache(nil), false
		f := &fakeIMDS{Began: time.Now()}
		f.Script = func(_ int, r *http.Request) (*http.Response, error) {
			if throttle {
				return imdsStatus(r, 429, "Retry-After", "100"), nil
			}
			return nil, nil
		}
		blankEnvironment(t)
		call := func(scope string) error {
			o := ManagedIdentityCredentialOptions{Cache: cache}
			o.Transport = f
			c, err := NewManagedIdentityCredential(&o)
			require.NoError(t, err)
			ctx, cancel := within(10 * time.Second)()
			defer cancel()
			err = get(ctx, c, scope).Err
			c = nil
			runtime.GC()
			runtime.GC()
			return err
		}
		for range 20 {
			require.NoError(t, call(vault))
			time.Sleep(time.Minute)
		}
		require.Len(t, f.Requests(), 1)
		require.Equal(t, 1, cache.Stats().Tokens)
		throttle = true
		for range 5 {
			require.Equal(t, ReasonThrottled, asCredentialError(t, call("https://b/.default")))
			time.Sleep(10 * time.Second)
		}
		require.NoError(t, call(vault), "the token is valid still")
		require.Len(t, f.Requests(), 2)
		require.NotZero(t, cache.Stats().ThrottledUntil)
		throttle = false
		time.Sleep(100 * time.Second)
		require.NoError(t, call("https://b/.default"))
		require.Equal(t, 2, cache.Stats().Tokens)
		require.Zero(t, cache.Stats().ThrottledUntil)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		require.Zero(t, cache.Stats().Tokens)
		require.Zero(t, cache.held.Len())
	})
}

// What is valid for long does not keep what is valid for a second only.
func TestBounds_aShortHoldEndsThoughALongOneIsThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cache := NewTokenCache(nil)
		long, short, last := new(int), new(int), new(int)
		cache.hold(long, nil, time.Now().Add(24*time.Hour))
		cache.hold(short, nil, time.Now().Add(2*time.Second))
		cache.hold(last, nil, time.Now().Add(time.Hour))
		held := func() int {
			cache.mu.Lock()
			defer cache.mu.Unlock()
			return cache.held.Len()
		}
		require.Equal(t, 3, held())
		time.Sleep(4 * time.Second)
		require.Equal(t, 2, held())
		time.Sleep(time.Hour)
		require.Equal(t, 1, held())
		time.Sleep(23 * time.Hour)
		require.Zero(t, held())
	})
}

func TestBounds_beyondAFewThousandTheLeastRecentlyUsedGo(t *testing.T) {
	if testkit.Race {
		t.Skip("it looks into the cache while that may be swept")
	}
	bubble(t, func(t *testing.T) {
		cache := NewTokenCache(nil)
		all := make([]*int, maxHeld+10)
		for i := range all {
			all[i] = new(int)
			cache.hold(all[i], nil, time.Now().Add(time.Hour))
			cache.hold(all[0], nil, time.Now().Add(time.Hour)) // which is used all the time
		}
		require.Equal(t, maxHeld, cache.held.Len())
		require.Equal(t, maxHeld, len(cache.holds.m))
		require.NotNil(t, cache.holds.m[all[0]])
		require.Nil(t, cache.holds.m[all[1]])
		require.NotNil(t, cache.holds.m[all[len(all)-1]])
		time.Sleep(2 * time.Hour)
		require.Empty(t, cache.holds.m)
	})
}
