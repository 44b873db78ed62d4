package interop

import (
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

func newServiceFabric(t *testing.T) *managedidtest.Server {
	t.Helper()
	s := managedidtest.NewServer(nil)
	t.Cleanup(s.Close)
	s.Setenv(t, managedidtest.ServiceFabric)
	return s
}

func TestAzidentity_serviceFabric(t *testing.T) {
	for name, transport := range map[string]policy.Transporter{
		"its own client": nil,
		"a client that trusts no such certificate": &http.Client{Transport: &http.Transport{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServiceFabric(t)
			o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: transport}}
			c, err := azidentity.NewManagedIdentityCredential(o)
			require.NoError(t, err)
			resource := "https://" + strings.ReplaceAll(t.Name(), "/", ".")
			got, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}, EnableCAE: true})
			require.NoError(t, err)
			requests := s.Requests()
			claims, err := managedidtest.VerifyToken(t.Context(), s.Client(), s.JWKSURL(), got.Token, resource)
			require.NoError(t, err)
			require.Equal(t, claims.Expires.Unix(), got.ExpiresOn.Unix())
			require.Equal(t, s.SystemAssigned().ObjectID, claims.ObjectID)
			require.Len(t, requests, 1)
			r := requests[0]
			require.Equal(t, "GET /metadata/identity/oauth2/token", r.Method+" "+r.Path)
			require.Equal(t, managedidtest.ServiceFabric, r.Endpoint)
			require.Equal(t, claims.ClientID, r.Identity)
			require.Equal(t, map[string][]string{"api-version": {"2019-07-01-preview"}, "resource": {resource}}, map[string][]string(r.Query))
			require.True(t, r.Header.Get("Secret") == s.Environ(managedidtest.ServiceFabric)["IDENTITY_HEADER"])
			require.Empty(t, r.Header.Values("Metadata"))
		})
	}
}

func TestAzidentity_serviceFabricRefuses(t *testing.T) {
	s := newServiceFabric(t)
	for _, id := range []azidentity.ManagedIDKind{azidentity.ClientID(user.ClientID), azidentity.ObjectID(user.ObjectID), azidentity.ResourceID(user.ResourceID)} {
		_, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: id})
		require.Error(t, err)
	}
	_, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: s.Emulator}})
	require.ErrorContains(t, err, "ClientOptions.Transport to be an *http.Client")

	t.Setenv("IDENTITY_SERVER_THUMBPRINT", strings.Repeat("0", 40))
	retries := azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}
	c, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: retries})
	require.NoError(t, err)
	_, err = c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://" + t.Name()}})
	require.ErrorContains(t, err, "IDENTITY_SERVER_THUMBPRINT")
	require.Empty(t, s.Requests())
}

func TestAzidentity_serviceFabricWithoutAnIdentity(t *testing.T) {
	s := newServiceFabric(t)
	c, err := azidentity.NewManagedIdentityCredential(nil)
	require.NoError(t, err)
	s.RotateSecret()
	_, err = c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://" + t.Name()}})
	var failed *azidentity.AuthenticationFailedError
	require.ErrorAs(t, err, &failed)
	require.ErrorContains(t, err, "ManagedIdentityNotFound")
	require.Len(t, s.Requests(), 1)
}
