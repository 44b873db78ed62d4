package conformance

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
)

func TestThrottle_obeysEachFormOfRetryAfter(t *testing.T) {
	for _, row := range []struct {
		name          string
		header, value string
		named         time.Duration // zero: the pause is between a second and four
	}{
		{"seconds", "Retry-After", "7", 7 * time.Second},
		{"Vector 3: longer than azcore's cap", "Retry-After", "26", 26 * time.Second},
		{"much longer than azcore's cap", "Retry-After", "110", 110 * time.Second},
		{"HTTP date", "Retry-After", "Sat, 01 Jan 2000 00:00:40 GMT", 40 * time.Second},
		{"milliseconds", "retry-after-ms", "7500", 7500 * time.Millisecond},
		{"milliseconds, Microsoft's", "x-ms-retry-after-ms", "7250", 7250 * time.Millisecond},
		{"fraction: nonsense", "Retry-After", "77.5", 0},
		{"negative: nonsense", "Retry-After", "-60", 0},
		{"zero: nonsense", "Retry-After", "0", 0},
		{"words: nonsense", "Retry-After", "soon", 0},
		{"past date: nonsense", "Retry-After", "Sat, 01 Jan 1999 00:00:40 GMT", 0},
		{"none", "X-Other", "1", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f, c := newFakeIMDS(t, throttledOnce(row.header, row.value))
				require.NoError(t, get(ctx0, c, vault).Err)
				sent := f.Requests()
				require.Len(t, sent, 2)
				if row.named > 0 {
					requireJittered(t, row.named, sent[1])
				} else {
					require.GreaterOrEqual(t, sent[1], time.Second)
					require.LessOrEqual(t, sent[1], 4*time.Second)
				}
			})
		})
	}
}

func TestThrottle_appliesToServiceUnavailableOnlyWithRetryAfter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
			if n == 0 {
				return imdsStatus(r, 503, "Retry-After", "60"), nil
			}
			return nil, nil
		})
		for _, r := range getAll(ctx0, c, scopes(3)...) {
			require.NoError(t, r.Err)
		}
		sent := f.Requests()
		require.Len(t, sent, 4)
		requireJittered(t, time.Minute, sent[1])
		require.Equal(t, sent[1], sent[3])
	})
}

func TestThrottle_holdsUpOtherResourcesAndIdentitiesOfTheEndpoint(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cache := managedid.NewTokenCache(nil)
		f, c := newFakeIMDSWith(t, throttledOnce("Retry-After", "30"), managedid.ManagedIdentityCredentialOptions{Cache: cache})
		user, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{Cache: cache, ID: managedid.ClientID("c"),
			ClientOptions: azcore.ClientOptions{Transport: f}})
		require.NoError(t, err)
		t.Setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")
		elsewhere, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{Cache: cache,
			ClientOptions: azcore.ClientOptions{Transport: f}})
		require.NoError(t, err)

		var all sync.WaitGroup
		all.Go(func() { require.NoError(t, get(ctx0, c, vault).Err) })
		synctest.Wait()
		all.Go(func() { requireJittered(t, 30*time.Second, get(ctx0, c, "https://other/.default").Took) })
		all.Go(func() { requireJittered(t, 30*time.Second, get(ctx0, user, vault).Took) })
		all.Go(func() { require.Zero(t, get(ctx0, elsewhere, vault).Took) })
		all.Wait()
		require.Len(t, f.Requests(), 5)
		requireJittered(t, 30*time.Second, f.Requests()[2])
	})
}

func TestThrottle_whoWaitsAndWhoFailsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cached := "https://cached/.default"
		f, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 {
				return imdsStatus(r, 429, "Retry-After", "60"), nil
			}
			return nil, nil
		})
		began := time.Now()
		held := get(ctx0, c, cached)
		var all sync.WaitGroup
		all.Go(func() { // its flight meets the 429: it learns so at once
			ctx, cancel := context.WithTimeout(ctx0, 59*time.Second)
			defer cancel()
			r := get(ctx, c, vault)
			require.Equal(t, managedid.ReasonThrottled, asCredentialError(t, r.Err))
			notOfAContext(t, r.Err)
			require.Zero(t, r.Took)
			e, _ := asType[*managedid.AuthenticationFailedError](r.Err)
			requireJittered(t, time.Minute, e.RetryAfter.Sub(began))
		})
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx0, 65*time.Second)
			defer cancel()
			r := get(ctx, c, vault)
			require.NoError(t, r.Err)
			requireJittered(t, time.Minute, r.Took)
		})
		synctest.Wait()
		r := get(ctx0, c, cached) // a valid token needs no gate
		require.Equal(t, held.Token, r.Token)
		require.Zero(t, r.Took)
		all.Wait()
		require.Len(t, f.Requests(), 3)
	})
}

func TestThrottle_aPauseBeyondThreeMinutesFailsAtOnceAndIsCutToFive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDS(t, throttledOnce("Retry-After", "86400"))
		began := time.Now()
		for range 3 {
			r := get(ctx0, c, vault)
			require.Equal(t, managedid.ReasonThrottled, asCredentialError(t, r.Err))
			require.LessOrEqual(t, r.Took, 3*time.Second)
			e, _ := asType[*managedid.AuthenticationFailedError](r.Err)
			requireJittered(t, 5*time.Minute, e.RetryAfter.Sub(began))
		}
		sleepUntil(began.Add(3 * time.Minute))
		require.NoError(t, get(ctx0, c, vault).Err)
		require.Len(t, f.Requests(), 2)
		requireJittered(t, 5*time.Minute, f.Requests()[1])
	})
}

func TestThrottle_backsOffAndOneRequestGoesFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		down := 20 * time.Second
		began := time.Now()
		f, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
			if time.Since(began) < down {
				return imdsStatus(r, 429), nil
			}
			return nil, nil
		})
		for _, r := range getAll(ctx0, c, slices.Repeat(scopes(10), 10)...) {
			require.NoError(t, r.Err)
		}
		within := 0
		for _, at := range f.Requests() {
			if at < down {
				within++
			}
		}
		t.Log("requests within 20 s of 429:", within)
		require.LessOrEqual(t, within, 8)
		require.Len(t, f.Requests(), within+10)
	})
}

func TestThrottle_oneRequestGoesAloneBeforeTheFirstAnswerAndAfterAPause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 {
				return imdsStatus(r, 429, "Retry-After", "10"), delayed(r, 500*time.Millisecond)
			}
			return nil, delayed(r, time.Second)
		})
		getAll(ctx0, c, scopes(8)...)
		// The first goes alone, its answer lets two go, one of those closes the gate while the other is answered.
		// When it opens, one goes alone again, then two, then the rest.
		s, sent := time.Second, f.Requests()
		require.Len(t, sent, 9)
		opens := sent[3]
		requireJittered(t, 10*s, opens-s-s/2)
		require.Equal(t, []time.Duration{0, s, s, opens, opens + s, opens + s, opens + 2*s, opens + 2*s, opens + 2*s}, sent)
	})
}

func TestThrottle_aFirstRequestThatIsLateHoldsNobodyUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDSWith(t, func(n int, r *http.Request) (*http.Response, error) {
			if n == 0 {
				return nil, delayed(r, time.Hour)
			}
			return nil, nil
		}, managedid.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1, TryTimeout: 10 * time.Second}}})
		failures := 0
		for _, r := range getAll(ctx0, c, scopes(4)...) {
			if r.Err != nil {
				notOfAContext(t, r.Err)
				require.Equal(t, 10*time.Second, r.Took)
				failures++
			} else {
				require.LessOrEqual(t, r.Took, 1300*time.Millisecond)
			}
		}
		require.Equal(t, 1, failures)
		require.Len(t, f.Requests(), 4)
	})
}

func TestThrottle_waitingUsesNoneOfATrysTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c := newFakeIMDSWith(t, throttledOnce("Retry-After", "90"), managedid.ManagedIdentityCredentialOptions{
			ClientOptions: azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: 1, TryTimeout: time.Second}}})
		r := get(ctx0, c, vault)
		require.NoError(t, r.Err)
		requireJittered(t, 90*time.Second, r.Took)
	})
}

func TestThrottle_keepsWithinIMDSsLimits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		underway, most := 0, 0
		var mu sync.Mutex
		f, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
			mu.Lock()
			underway++
			most = max(most, underway)
			mu.Unlock()
			err := delayed(r, 30*time.Millisecond)
			mu.Lock()
			underway--
			mu.Unlock()
			return nil, err
		})
		for _, r := range getAll(ctx0, c, slices.Repeat(scopes(100), 20)...) {
			require.NoError(t, r.Err)
		}
		sent := f.Requests()
		require.Len(t, sent, 100)
		require.Equal(t, 5, most)
		for i := range sent[20:] {
			require.Greater(t, sent[i+20]-sent[i], time.Second)
		}
	})
}

func TestThrottle_errorKeepsTheOriginalAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c := newFakeIMDSWith(t, throttledOnce("Retry-After", "26"), managedid.ManagedIdentityCredentialOptions{ClientOptions: noRetries})
		r := get(ctx0, c, vault)
		require.Equal(t, managedid.ReasonThrottled, asCredentialError(t, r.Err))
		e, _ := asType[*managedid.AuthenticationFailedError](r.Err)
		require.Equal(t, "26", e.RawResponse.Header.Get("Retry-After"))
		require.Equal(t, 429, e.RawResponse.StatusCode)
		requireJittered(t, 26*time.Second, time.Until(e.RetryAfter))
		body, err := io.ReadAll(e.RawResponse.Body)
		require.NoError(t, err)
		require.Contains(t, string(body), "error_description")
	})
}
