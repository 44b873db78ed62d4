package interop

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// All of the library's requests go through the proxy, discovery included, and name Entra's public host.
func TestAzidentity_identityBinding(t *testing.T) {
	s := managedidtest.NewServer(nil)
	t.Cleanup(s.Close)
	p, err := s.NewTokenProxy(t.TempDir())
	require.NoError(t, err)
	s.Setenv(t, managedidtest.IdentityBinding)
	t.Setenv("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/")
	c, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{EnableAzureProxy: true})
	require.NoError(t, err)
	ask := func(resource string) {
		got, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
		require.NoError(t, err)
		claims, err := managedidtest.VerifyToken(t.Context(), s.Client(), s.JWKSURL(), got.Token, resource)
		require.NoError(t, err)
		require.Equal(t, s.Applications()[0].ClientID, claims.ClientID)
	}
	ask(vault)
	tenant := "/" + s.TenantID()
	want := []string{"GET /common/discovery/instance", "GET " + tenant + "/v2.0/.well-known/openid-configuration", "POST " + tenant + "/oauth2/v2.0/token"}
	var sent []string
	for _, r := range s.Requests() {
		if r.Endpoint != managedidtest.Keys {
			require.Equal(t, "login.microsoftonline.com", r.Host)
			sent = append(sent, r.Method+" "+r.Path)
		}
	}
	require.Equal(t, want, sent)
	require.NoError(t, p.Rotate())
	ask("https://storage.azure.com")

	t.Setenv("AZURE_AUTHORITY_HOST", s.AuthorityHost)
	c, err = azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: policy.ClientOptions{Transport: s.Client()}, DisableInstanceDiscovery: true})
	require.NoError(t, err)
	_, err = c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{vault + "/.default"}})
	require.ErrorContains(t, err, "AADSTS700212", "straight to Entra")
}
