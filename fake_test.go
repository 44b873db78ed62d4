package managedid

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/tokens"
)

const vault = "https://vault.azure.net/.default"

// script answers the n-th request (from 0), or returns nil for a token of an hour.
type script func(n int, r *http.Request) (*http.Response, error)

// fakeIMDS is a Transporter without sockets that answers as IMDS does, for bubbles.
type fakeIMDS struct {
	script script
	began  time.Time

	mu   sync.Mutex
	sent []time.Duration // when each request came; guarded by mu
}

func (f *fakeIMDS) Do(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	n := len(f.sent)
	f.sent = append(f.sent, time.Since(f.began))
	f.mu.Unlock()
	if f.script != nil {
		if resp, err := f.script(n, r); resp != nil || err != nil {
			return resp, err
		}
	}
	return imdsToken(r, time.Hour), nil
}

func (f *fakeIMDS) requests() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Duration{}, f.sent...)
}

func imdsToken(r *http.Request, lifetime time.Duration) *http.Response {
	return respond(r, 200, tokenBody(r.URL.Query().Get("resource"), time.Now().Add(lifetime)), "Server", "IMDS/150.870.65.1475")
}

func imdsStatus(r *http.Request, status int, header ...string) *http.Response {
	return respond(r, status, `{"error":"e","error_description":"d"}`, append(header, "Server", "IMDS/150.870.65.1475")...)
}

// newFakeIMDS returns a fake and a credential of its own for it.
func newFakeIMDS(t testing.TB, s script) (*fakeIMDS, *ManagedIdentityCredential) {
	return newFakeIMDSWith(t, s, ManagedIdentityCredentialOptions{})
}

func newFakeIMDSWith(t testing.TB, s script, o ManagedIdentityCredentialOptions) (*fakeIMDS, *ManagedIdentityCredential) {
	t.Helper()
	blankEnvironment(t)
	f := &fakeIMDS{script: s, began: time.Now()}
	o.Transport = f
	if o.Cache == nil {
		o.Cache = NewTokenCache(nil)
	}
	c, err := NewManagedIdentityCredential(&o)
	require.NoError(t, err)
	return f, c
}

// noRetries makes each call one try.
var noRetries = azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}

// delayed waits for d or until the request's context has ended.
func delayed(r *http.Request, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

type result struct {
	token azcore.AccessToken
	err   error
	took  time.Duration
}

func get(ctx context.Context, c azcore.TokenCredential, scope string) result {
	began := time.Now()
	t, err := c.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
	return result{t, err, time.Since(began)}
}

// getAll asks for each scope in a goroutine of its own.
func getAll(ctx context.Context, c azcore.TokenCredential, scopes ...string) []result {
	results := make([]result, len(scopes))
	var all sync.WaitGroup
	for i, scope := range scopes {
		all.Go(func() { results[i] = get(ctx, c, scope) })
	}
	all.Wait()
	return results
}

// asCredentialError asserts what each error of GetToken must be, and returns its reason.
func asCredentialError(t testing.TB, err error) Reason {
	t.Helper()
	require.Error(t, err)
	require.NotContains(t, err.Error(), "\n")
	require.NotContains(t, err.Error(), secretToken)
	var final interface{ NonRetriable() }
	require.ErrorAs(t, err, &final)
	return ReasonOf(err)
}

func notOfAContext(t testing.TB, err error) {
	t.Helper()
	require.NotErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

// bubble runs a test in fake time, and lets flights that nobody waits for come to their end. A goroutine left after
// that fails the test.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t)
		time.Sleep(tokens.FlightLimit)
	})
}
