package managedid

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"
)

// heapNow is what is in use once all is collected that can be.
func heapNow() int64 {
	for range 5 { // cleanups run after a collection, and free what the next one collects
		runtime.GC()
		time.Sleep(5 * time.Millisecond)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// requireKept checks what is kept of each of n things that f does, once they are of no use.
func requireKept(t *testing.T, most, n int, f func(i int), after func()) {
	t.Helper()
	if raceEnabled() {
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
	checkGoroutines(t)
	for name, held := range map[string]bool{"an empty cache": false, "beside a token of a day": true} {
		t.Run(name, func(t *testing.T) {
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
				require.NoError(t, get(ctx0, c, vault).err)
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
	}
}

func TestBounds_nothingIsKeptOfATenantsTokenThatHasExpired(t *testing.T) {
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
	cache := NewTokenCache(nil)
	o := ClientSecretCredentialOptions{Cache: cache}
	o.ClientOptions = oneForAll(func(r *http.Request) (*http.Response, error) {
		return respond(r, 401, `{"error":"invalid_client","error_codes":[7000215]}`), nil
	})
	blankEnvironment(t)
	requireKept(t, keptOfEach, 3000, func(i int) {
		c, err := NewClientSecretCredential(someTenant, someClient, fmt.Sprintf("secret %d", i), &o)
		require.NoError(t, err)
		require.Error(t, get(ctx0, c, vault).err)
	}, func() { time.Sleep(2100 * time.Millisecond) })
}

func TestBounds_scopesThatGaveNothingAreSweptAFewAtEachCall(t *testing.T) {
	cache := NewTokenCache(nil)
	c, err := NewClientSecretCredential(someTenant, someClient, someSecret, &ClientSecretCredentialOptions{Cache: cache,
		ClientOptions: oneForAll(refusedTenant)})
	require.NoError(t, err)
	requireKept(t, keptOfEach, 3000, func(i int) { require.Error(t, get(ctx0, c, fmt.Sprintf("api://%d", i)).err) }, func() {
		time.Sleep(1100 * time.Millisecond)
		for i := range 900 {
			require.Error(t, get(ctx0, c, fmt.Sprintf("api://sweep-%d", i%2)+strings.Repeat("x", i)).err)
		}
		time.Sleep(1100 * time.Millisecond)
		for i := range 900 {
			require.Error(t, get(ctx0, c, fmt.Sprintf("api://sweep-%d", i%2)+strings.Repeat("x", i)).err)
		}
	})
	runtime.KeepAlive(c)
}

// A credential made anew for each call costs no request while its token is valid, and obeys the pause that an earlier
// one met.
func TestBounds_aCredentialMadeForEachCall(t *testing.T) {
	if raceEnabled() {
		t.Skip("it looks into the cache while that may be swept")
	}
	bubble(t, func(t *testing.T) {
		cache, throttle := NewTokenCache(nil), false
		f := &fakeIMDS{began: time.Now()}
		f.script = func(_ int, r *http.Request) (*http.Response, error) {
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
			err = get(ctx, c, scope).err
			c = nil
			runtime.GC()
			runtime.GC()
			return err
		}
		for range 20 {
			require.NoError(t, call(vault))
			time.Sleep(time.Minute)
		}
		require.Len(t, f.requests(), 1)
		require.Equal(t, 1, cache.Stats().Tokens)
		throttle = true
		for range 5 {
			require.Equal(t, ReasonThrottled, asCredentialError(t, call("https://b/.default")))
			time.Sleep(10 * time.Second)
		}
		require.NoError(t, call(vault), "the token is valid still")
		require.Len(t, f.requests(), 2)
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
	if raceEnabled() {
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
