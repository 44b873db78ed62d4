package conformance

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"reflect"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
)

// exported are the exported fields of a struct, with functions as their addresses, and of its TLSClientConfig.
func exported(v any) map[string]any {
	all := map[string]any{}
	s := reflect.ValueOf(v).Elem()
	for i := range s.NumField() {
		f := s.Type().Field(i)
		switch value := s.Field(i); {
		case !f.IsExported():
		case f.Type.Kind() == reflect.Func:
			all[f.Name] = value.Pointer()
		case f.Name == "TLSClientConfig" && !value.IsNil():
			all[f.Name] = exported(value.Interface())
		case f.Name == "TLSNextProto":
			all[f.Name] = len(value.MapKeys())
		default:
			all[f.Name] = value.Interface()
		}
	}
	return all
}

// visit makes a request of the caller's own, and tells whether its connection had been used before.
func visit(t *testing.T, client *http.Client, url string) (reused bool) {
	t.Helper()
	ctx := httptrace.WithClientTrace(ctx0, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, resp.Body)
	require.NoError(t, resp.Body.Close())
	return reused
}

// busy makes a client have an open connection and a session to resume.
func busy(t *testing.T, client *http.Client, http2 bool, url string) (*http.Client, *http.Transport) {
	transport := client.Transport.(*http.Transport)
	transport.ForceAttemptHTTP2 = http2
	transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	t.Cleanup(transport.CloseIdleConnections)
	visit(t, client, url)
	transport.CloseIdleConnections()
	require.False(t, visit(t, client, url))
	return client, transport
}

// A caller's client has a connection to what answers, and a session to resume: neither may carry the secret.
func TestServiceFabric_usesNothingThatACallersClientHasOpen(t *testing.T) {
	for _, http2 := range []bool{true, false} {
		for _, right := range []bool{true, false} {
			t.Run(fmt.Sprintf("HTTP/2 %t, the right leaf %t", http2, right), func(t *testing.T) {
				em := managedidtest.New(nil)
				em.Setenv(t, managedidtest.ServiceFabric)
				leaf := issue(t, nil, nil)
				if right {
					setenv(t, "IDENTITY_SERVER_THUMBPRINT="+thumbprintOf(leaf))
				}
				var protocols []string
				s := node(t, &tls.Config{Certificates: []tls.Certificate{*leaf}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					protocols = append(protocols, fmt.Sprintf("%s %t", r.Proto, r.TLS.DidResume))
					em.ServeHTTP(w, r)
				}))
				client, transport := busy(t, trusting(leaf), http2, s.URL)
				fields, config := exported(client), exported(transport)

				c := credentialWith(t, &managedid.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: client}})
				r := get(ctx0, c, vault)
				require.Equal(t, fields, exported(client))
				require.Equal(t, config, exported(transport))
				require.True(t, visit(t, client, s.URL), "its connection is still there")
				own := map[bool]string{true: "HTTP/2.0", false: "HTTP/1.1"}[http2]
				want := []string{own + " false", own + " true", "HTTP/1.1 false", own + " true"}
				if right {
					require.NoError(t, r.Err)
				} else {
					requireError(t, r.Err, wrongPin)
					want = append(want[:2], want[3])
				}
				require.Equal(t, want, protocols)
			})
		}
	}
}

func TestServiceFabric_keepsNoConnectionOpen(t *testing.T) {
	s := newServer(t, managedidtest.ServiceFabric, nil)
	client := &http.Client{Transport: &http.Transport{}}
	for range 3 {
		require.NoError(t, get(ctx0, credentialWith(t, &managedid.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: client}}), vault).Err)
	}
	for _, r := range s.Requests() {
		require.Equal(t, managedidtest.ServiceFabric, r.Endpoint)
		require.Equal(t, "close", r.Header.Get("Connection"))
		require.Empty(t, r.Header.Values("Metadata"))
	}
	require.Len(t, s.Requests(), 3)
}

func TestVector8_redirectsOfServiceFabricAreNotFollowed(t *testing.T) {
	s := newServer(t, managedidtest.ServiceFabric, nil)
	elsewhere := managedidtest.NewServer(nil)
	t.Cleanup(elsewhere.Close)
	for _, client := range []*http.Client{nil, {CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}} {
		for _, to := range []string{elsewhere.URL, strings.TrimSuffix(elsewhere.AuthorityHost, "/"), "/again"} {
			s.Inject(managedidtest.Fault{Endpoint: managedidtest.ServiceFabric, Count: 1, Status: 307, Header: http.Header{"Location": {to}}})
			before := len(s.Requests())
			c := credentialWith(t, &managedid.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: client}, Cache: managedid.NewTokenCache(nil)})
			requireError(t, get(ctx0, c, vault).Err, "ManagedIdentityCredential: Service Fabric: the request was refused (307 Temporary Redirect)")
			require.Len(t, s.Requests(), before+1)
		}
	}
	require.Empty(t, elsewhere.Requests())
}

// A critical event at the API: its client's challenge leads the cluster to another token than the one that it keeps.
func TestCAE_aBearerTokenPolicyAnswersTheChallengeOnServiceFabric(t *testing.T) {
	s := newServer(t, managedidtest.ServiceFabric, nil)
	api := s.NewResource(strings.TrimSuffix(vault, "/.default"), nil)
	c := credentialWith(t, nil)
	call := sdkClient(t, s, c, api.URL)
	require.Equal(t, 200, call())
	for n := range 2 {
		refused, err := c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: []string{vault}, EnableCAE: true})
		require.NoError(t, err)
		s.RevokeTokens()
		require.Equal(t, 200, call())
		require.Equal(t, 200, call())
		var asked []managedidtest.Request
		for _, r := range s.Requests() {
			if r.Endpoint == managedidtest.ServiceFabric {
				asked = append(asked, r)
			}
		}
		require.Len(t, asked, n+2)
		q := asked[n+1].Query
		require.Equal(t, []string{"cp1"}, q["xms_cc"])
		require.True(t, q.Get("token_sha256_to_refresh") == fmt.Sprintf("%x", sha256.Sum256([]byte(refused.Token))))
	}
	s.Client().CloseIdleConnections()
}
