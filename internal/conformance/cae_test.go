package conformance

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
)

// sdkClient is a client of an API as the Azure SDK builds it, with a BearerTokenPolicy of its own.
func sdkClient(t *testing.T, s *managedidtest.Server, c azcore.TokenCredential, url string) (call func() (status int)) {
	bearer := runtime.NewBearerTokenPolicy(c, []string{vault}, nil)
	pipeline := runtime.NewPipeline("test", "v0.0.0", runtime.PipelineOptions{PerRetry: []policy.Policy{bearer}},
		&policy.ClientOptions{Transport: s.Client(), Retry: policy.RetryOptions{MaxRetries: -1}})
	return func() int {
		req, err := runtime.NewRequest(ctx0, http.MethodGet, url)
		require.NoError(t, err)
		resp, err := pipeline.Do(req)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
}

// A critical event at the API: every client of it is challenged, its BearerTokenPolicy asks for a token that meets the
// challenge, and the request that was refused is answered.
func TestCAE_aBearerTokenPolicyAnswersTheChallenge(t *testing.T) {
	s := newServer(t, managedidtest.EntraSecret, nil)
	api := s.NewResource(strings.TrimSuffix(vault, "/.default"), nil)
	app := s.Applications()[0]
	c, err := managedid.NewClientSecretCredential(s.TenantID(), app.ClientID, app.Secrets[0].Value, &managedid.ClientSecretCredentialOptions{ClientOptions: azcore.ClientOptions{
		Transport: s.Client(), Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: s.AuthorityHost}}})
	require.NoError(t, err)
	clients := make([]func() int, 20)
	for i := range clients {
		clients[i] = sdkClient(t, s, c, api.URL)
	}
	callAll := func() {
		var all sync.WaitGroup
		for _, call := range clients {
			all.Go(func() { require.Equal(t, 200, call()) })
		}
		all.Wait()
	}
	bought := func() (claims []string) {
		for _, r := range s.Requests() {
			if r.Endpoint == managedidtest.Entra {
				claims = append(claims, r.Form.Get("claims"))
			}
		}
		return claims
	}
	callAll()
	require.Equal(t, []string{`{"access_token":{"xms_cc":{"values":["CP1"]}}}`}, bought())
	for n := range 2 {
		s.RevokeTokens()
		callAll()
		callAll()
		require.Len(t, bought(), n+2, "one request meets the challenge of all clients")
		require.Regexp(t, `^{"access_token":{"nbf":{"essential":true,"value":"\d+"},"xms_cc":{"values":\["CP1"\]}}}$`, bought()[n+1])
	}
	s.Client().CloseIdleConnections()
}

// An API that no token satisfies: each call meets one challenge, and the endpoint one request for all of them.
func TestCAE_aManagedIdentityDoesNotLoop(t *testing.T) {
	s := newServer(t, managedidtest.IMDS, nil)
	api := s.NewResource(strings.TrimSuffix(vault, "/.default"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_claims", claims="e30="`)
		w.WriteHeader(401)
	}))
	c, err := managedid.NewManagedIdentityCredential(nil)
	require.NoError(t, err)
	call := sdkClient(t, s, c, api.URL)
	for range 10 {
		require.Equal(t, 401, call())
	}
	asked := 0
	for _, r := range s.Requests() {
		if r.Endpoint == managedidtest.IMDS {
			asked++
		}
	}
	require.Equal(t, 2, asked)
	s.Client().CloseIdleConnections()
}
