package conformance

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
)

// dockerDesktop is what Docker Desktop on Windows answers for IMDS; the end of it is localised
// (azure-sdk-for-go issue 21417, azure-sdk-for-net issue 42134).
const dockerDesktop = "connecting to 169.254.169.254:80: connecting to 169.254.169.254:80: dial tcp 169.254.169.254:80: connectex: "

// somethingElse are the answers of what may sit at IMDS's address; retried says whether a patient caller sees it asked again.
var somethingElse = []struct {
	name    string
	status  int
	header  http.Header
	body    string
	reset   bool
	retried bool
}{
	{name: "Vector 6: 403 in English", status: 403, body: dockerDesktop + "A socket operation was attempted to an unreachable network."},
	{name: "Vector 6: 403 in Norwegian", status: 403, body: dockerDesktop + "En sokkeloperasjon ble forsøkt mot et nettverk som ikke kan nås."},
	{name: "Vector 7: 200 with HTML", status: 200, body: "<html>sign in</html>"},
	{name: "502 of a proxy", status: 502, body: "<html>Bad Gateway</html>", retried: true},
	{name: "407 of a proxy", status: 407, header: http.Header{"Proxy-Authenticate": {"Basic realm=x"}}, body: `{"error":"proxy"}`},
	{name: "401 of another cloud", status: 401},
	{name: "404 with HTML", status: 404, body: "<html>Not Found</html>", retried: true},
	{name: "redirect", status: 302, header: http.Header{"Location": {"http://127.0.0.1:1/login"}}},
	{name: "200 with nothing", status: 200},
	{name: "reset", reset: true, retried: true},
}

// newLoopback points the environment at a server on loopback, as IMDS.
func newLoopback(t *testing.T, h http.HandlerFunc) *httptest.Server {
	blankEnvironment(t)
	checkGoroutines(t)
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	t.Setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", s.URL)
	return s
}

func TestAbsence_somethingElseAnswersForIMDS(t *testing.T) {
	for _, row := range somethingElse {
		t.Run(row.name, func(t *testing.T) {
			var requests atomic.Int32
			newLoopback(t, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				if row.reset {
					conn, _, _ := w.(http.Hijacker).Hijack()
					_ = conn.(*net.TCPConn).SetLinger(0)
					_ = conn.Close()
					return
				}
				for name, values := range row.header {
					w.Header()[name] = values
				}
				w.WriteHeader(row.status)
				_, _ = io.WriteString(w, row.body)
			})
			quick := azcore.ClientOptions{Retry: policy.RetryOptions{RetryDelay: time.Millisecond}}
			alone, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ClientOptions: quick})
			require.NoError(t, err)

			r := get(ctx0, alone, vault)
			require.Equal(t, managedid.ReasonAbsent, asCredentialError(t, r.Err))
			require.IsType(t, &managedid.CredentialUnavailableError{}, r.Err)
			require.NotContains(t, r.Err.Error(), "connecting")
			notOfAContext(t, r.Err)
			want := int32(1)
			if row.retried {
				want = 7 // six retries
			}
			require.Equal(t, want, requests.Load())

			requests.Store(0)
			inChain, err := managedid.NewManagedIdentityCredential(nil) // without retry options of its own: the real schedule, in the process's cache
			require.NoError(t, err)
			chain, err := managedid.NewChainedTokenCredential([]azcore.TokenCredential{inChain, other{}}, nil)
			require.NoError(t, err)
			r = get(ctx0, chain, vault)
			require.NoError(t, r.Err)
			require.Equal(t, "other", r.Token.Token)
			require.Equal(t, int32(1), requests.Load())

			unavailable, err := managedid.NewDefaultAzureCredential(nil)
			require.NoError(t, err)
			r = get(ctx0, unavailable, "https://storage.azure.com/.default")
			require.IsType(t, &managedid.CredentialUnavailableError{}, r.Err)
			require.Equal(t, int32(1), requests.Load(), "the verdict is shared")
			t.Log(r.Err)
		})
	}
}

func TestAbsence_nothingListens(t *testing.T) {
	s := newLoopback(t, nil)
	s.Close()
	c, err := managedid.NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	r := get(ctx0, c, vault)
	require.Equal(t, managedid.ReasonAbsent, asCredentialError(t, r.Err))
	require.Contains(t, r.Err.Error(), "connection refused")
	require.Contains(t, r.Err.Error(), "AZURE_TOKEN_CREDENTIALS")
}

// TestVector8 and the two after it ask what leaves the host, and how much comes in.
func TestVector8_aRedirectSendsNothingOnward(t *testing.T) {
	var onward atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		onward.Add(1)
		_, _ = io.WriteString(w, tokenBody("x", time.Now().Add(time.Hour)))
	}))
	defer elsewhere.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		s := newLoopback(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, code) })
		for name, client := range map[string]policy.Transporter{"default client": nil, "caller's client": &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}} {
			t.Run(name, func(t *testing.T) {
				t.Setenv("IDENTITY_ENDPOINT", s.URL)
				t.Setenv("IDENTITY_HEADER", "secret-header")
				c, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{Cache: managedid.NewTokenCache(nil), ClientOptions: azcore.ClientOptions{Transport: client}})
				require.NoError(t, err)
				asCredentialError(t, get(ctx0, c, vault).Err)
				require.Zero(t, onward.Load())
				if client != nil {
					require.Nil(t, client.(*http.Client).CheckRedirect, "the caller's client is not changed")
				}
			})
		}
	}
}
