package managedid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/tokens"
)

var ctx0 = context.Background()

func TestCache_thousandCallersCostOneRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Second) })
		for _, r := range getAll(ctx0, c, slices.Repeat([]string{vault}, 1000)...) {
			require.NoError(t, r.err)
			require.Equal(t, time.Second, r.took)
		}
		require.Len(t, f.requests(), 1)
	})
}

func TestCache_isSharedByCredentialsAndByScopesOfOneResource(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDS(t, nil)
		other, err := NewManagedIdentityCredential(&ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: f},
			Cache: nil})
		require.NoError(t, err)
		require.NoError(t, get(ctx0, c, vault).err)
		require.NoError(t, get(ctx0, c, "https://vault.azure.net").err)
		require.Len(t, f.requests(), 1)
		require.NoError(t, get(ctx0, other, vault).err) // its Transport gives it a private cache
		require.Len(t, f.requests(), 2)
		for range 3 {
			require.NoError(t, get(ctx0, other, vault).err)
		}
		require.Len(t, f.requests(), 2)
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
					got := get(ctx0, c, fmt.Sprintf("api://%d", i)).token
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
		require.NoError(t, first.err)
		require.Equal(t, first.token.ExpiresOn.Add(-5*time.Minute), first.token.RefreshOn)

		sleepUntil(first.token.RefreshOn.Add(-time.Nanosecond))
		require.Equal(t, first.token, get(ctx0, c, vault).token)
		synctest.Wait()
		require.Len(t, f.requests(), 1)

		sleepUntil(first.token.RefreshOn)
		for range 100 { // while the refresh takes its 500 ms
			r := get(ctx0, c, vault)
			require.Equal(t, first.token, r.token)
			require.Zero(t, r.took)
		}
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		require.Len(t, f.requests(), 2)
		second := get(ctx0, c, vault)
		require.True(t, second.token.ExpiresOn.After(first.token.ExpiresOn))
		require.Zero(t, second.took)
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
				require.NoError(t, get(ctx0, c, vault).err)
				for _, step := range []struct {
					at       time.Duration
					requests int
				}{{row.refreshed - time.Nanosecond, 1}, {row.refreshed, 2}} {
					sleepUntil(began.Add(step.at))
					require.NoError(t, get(ctx0, c, vault).err)
					synctest.Wait()
					require.Len(t, f.requests(), step.requests)
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
				sleepUntil(first.token.ExpiresOn.Add(-row.left))
				second := get(ctx0, c, vault)
				require.NoError(t, second.err)
				require.Equal(t, row.took, second.took)
				require.Equal(t, row.renewed, second.token.ExpiresOn.After(first.token.ExpiresOn))
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
		sleepUntil(first.token.ExpiresOn.Add(-time.Minute))
		var others sync.WaitGroup
		others.Go(func() { require.Equal(t, 2*time.Second, get(ctx0, c, vault).took) })
		time.Sleep(1500 * time.Millisecond)
		others.Go(func() { require.Equal(t, 500*time.Millisecond, get(ctx0, c, vault).took) })
		others.Go(func() {
			ctx, cancel := context.WithTimeout(ctx0, 100*time.Millisecond)
			defer cancel()
			r := get(ctx, c, vault)
			require.Equal(t, 100*time.Millisecond, r.took)
			require.Equal(t, first.token, r.token) // still valid, so better than an error
		})
		others.Wait()
		time.Sleep(time.Second)
		require.Zero(t, get(ctx0, c, vault).took) // more than two seconds after the refresh began
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
		for time.Until(first.token.ExpiresOn) > 0 {
			r := get(ctx0, c, vault)
			require.NoError(t, r.err)
			require.LessOrEqual(t, r.took, tokens.UrgentWait)
			time.Sleep(time.Second)
		}
		require.Equal(t, first.token.ExpiresOn, time.Now().UTC())
		r := get(ctx0, c, vault)
		require.Equal(t, ReasonNotReady, asCredentialError(t, r.err))
		require.Empty(t, r.token)
		// first at 55 min, then each 30 s (a tenth of what is left is less), until the expiry's cold request
		want := []time.Duration{0}
		for at := 55 * time.Minute; at <= time.Hour; at += 30 * time.Second {
			want = append(want, at)
		}
		require.Equal(t, want, f.requests())
	})
}

func TestCache_pausesAfterARefreshThatBroughtATokenAlreadyDue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		expires := time.Now().Add(20 * time.Minute)
		f, c := newFakeIMDSWith(t, func(n int, r *http.Request) (*http.Response, error) { // the host caches too
			return respond(r, 200, tokenBody("", expires), "Server", "IMDS/1"), nil
		}, ManagedIdentityCredentialOptions{Cache: NewTokenCache(&TokenCacheOptions{RefreshBefore: time.Hour})})
		for time.Until(expires) > 10*time.Minute {
			require.Zero(t, get(ctx0, c, vault).took)
			time.Sleep(time.Second)
		}
		sent := f.requests()
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
				sleepUntil(first.token.ExpiresOn.Add(-time.Minute))
				for range 10 {
					r := get(ctx0, c, vault)
					require.Equal(t, first.token, r.token)
					require.Zero(t, r.took)
				}
				require.Len(t, f.requests(), 2)
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
				require.ErrorIs(t, r.err, context.DeadlineExceeded)
				asCredentialError(t, r.err)
				require.Equal(t, time.Duration(i+1)*200*time.Millisecond, r.took)
			})
		}
		cancelled, cancel := context.WithCancel(ctx0)
		all.Go(func() { require.ErrorIs(t, get(cancelled, c, vault).err, context.Canceled) })
		time.Sleep(500 * time.Millisecond)
		cancel()
		all.Wait()
		time.Sleep(time.Second)
		require.Zero(t, get(cancelled, c, vault).took) // a hit needs no context
		require.NoError(t, get(ctx0, c, vault).err)
		require.Len(t, f.requests(), 1)
	})
}

func TestCache_failureReachesAllWaitersOnceEachItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDSWith(t, func(n int, r *http.Request) (*http.Response, error) {
			return imdsStatus(r, 500), delayed(r, time.Second)
		}, ManagedIdentityCredentialOptions{ClientOptions: noRetries})
		seen := map[*AuthenticationFailedError]bool{}
		for _, r := range getAll(ctx0, c, slices.Repeat([]string{vault}, 100)...) {
			require.Equal(t, ReasonNotReady, asCredentialError(t, r.err))
			notOfAContext(t, r.err)
			require.Equal(t, time.Second, r.took)
			e, _ := errors.AsType[*AuthenticationFailedError](r.err)
			require.False(t, seen[e])
			seen[e] = true
		}
		require.Len(t, f.requests(), 1)
	})
}

func TestCache_repeatsADefiniteRefusalForASecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDSWith(t, func(n int, r *http.Request) (*http.Response, error) {
			return respond(r, 400, `{"error":"invalid_resource"}`, "Server", "IMDS/1"), nil
		}, ManagedIdentityCredentialOptions{})
		began := time.Now()
		for time.Since(began) < 10*time.Second {
			require.Equal(t, ReasonInvalidScope, asCredentialError(t, get(ctx0, c, vault).err))
			time.Sleep(10 * time.Millisecond)
		}
		require.Len(t, f.requests(), 10)
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
		asCredentialError(t, get(ctx0, c, vault).err)
		require.NoError(t, get(ctx0, c, vault).err)
	})
}

func TestCache_claimsBypassTheHitThroughOneFlight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Second) })
		require.NoError(t, get(ctx0, c, vault).err)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				_, err := c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: []string{vault}, Claims: `{"access_token":{}}`})
				require.NoError(t, err)
			})
		}
		all.Wait()
		require.Len(t, f.requests(), 2)
	})
}

func sleepUntil(t time.Time) { time.Sleep(time.Until(t)) }
