package interop

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

const vault = "https://vault.azure.net"

// way is one to reach the emulator's Entra.
type way struct {
	name                     string
	em                       *managedidtest.Emulator
	options                  azcore.ClientOptions
	disableInstanceDiscovery bool
	requests                 []string // that a first token takes
}

// ways are over TLS, at an authority that only the emulator knows, and without sockets, at the public cloud's, where the
// library first asks for its discovery document.
func ways(t *testing.T) (*managedidtest.Server, []way) {
	s := managedidtest.NewServer(nil)
	t.Cleanup(s.Close)
	em := managedidtest.New(nil)
	tenant := "/" + s.TenantID() // the same in each emulator
	openID, token := "GET "+tenant+"/v2.0/.well-known/openid-configuration", "POST "+tenant+"/oauth2/v2.0/token"
	private := cloud.Configuration{ActiveDirectoryAuthorityHost: s.AuthorityHost}
	return s, []way{
		{"over TLS", s.Emulator, azcore.ClientOptions{Transport: s.Client(), Cloud: private}, true, []string{openID, token}},
		{"with discovery", em, azcore.ClientOptions{Transport: em}, false, []string{"GET /common/discovery/instance", openID, token}},
	}
}

// check asserts that a credential gets a token that verifies, and what the emulator's log says that it sent.
func (w way) check(t *testing.T, c azcore.TokenCredential, s *managedidtest.Server, parameter string) {
	t.Helper()
	w.checkAfter(t, 0, c, s, parameter)
}

// checkAfter is check where the log has entries before.
func (w way) checkAfter(t *testing.T, before int, c azcore.TokenCredential, s *managedidtest.Server, parameter string) {
	t.Helper()
	got, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{vault + "/.default"}, EnableCAE: true})
	require.NoError(t, err)
	requests := w.em.Requests()[before:]
	claims, err := managedidtest.VerifyToken(t.Context(), s.Client(), s.JWKSURL(), got.Token, vault)
	require.NoError(t, err)
	require.Equal(t, w.em.TenantID(), claims.TenantID)
	require.Equal(t, w.em.Applications()[0].ClientID, claims.ClientID)
	require.Less(t, claims.Expires.Sub(got.ExpiresOn).Abs(), 3*time.Second, "the library counts whole seconds from the answer")
	var sent []string
	for _, r := range requests {
		sent = append(sent, r.Method+" "+r.Path)
		require.Equal(t, 200, r.Status)
	}
	require.Equal(t, w.requests, sent)
	form := requests[len(requests)-1].Form
	require.True(t, form.Has(parameter))
	require.Equal(t, vault+"/.default openid offline_access profile", form.Get("scope"))
	require.Equal(t, `{"access_token":{"xms_cc":{"values":["CP1"]}}}`, form.Get("claims"))
}

func TestAzidentity_clientSecret(t *testing.T) {
	s, all := ways(t)
	for _, w := range all {
		t.Run(w.name, func(t *testing.T) {
			app := w.em.Applications()[0]
			o := &azidentity.ClientSecretCredentialOptions{ClientOptions: w.options, DisableInstanceDiscovery: w.disableInstanceDiscovery}
			c, err := azidentity.NewClientSecretCredential(w.em.TenantID(), app.ClientID, app.Secrets[0].Value, o)
			require.NoError(t, err)
			w.check(t, c, s, "client_secret")

			c, err = azidentity.NewClientSecretCredential(w.em.TenantID(), app.ClientID, "wrong", o)
			require.NoError(t, err)
			_, err = c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{vault + "/.default"}})
			require.ErrorContains(t, err, "AADSTS7000215")
		})
	}
}

func TestAzidentity_clientCertificate(t *testing.T) {
	s, all := ways(t)
	for _, w := range all {
		t.Run(w.name, func(t *testing.T) {
			file, err := w.em.NewCertificateFile(t.TempDir())
			require.NoError(t, err)
			content, err := os.ReadFile(file.Path)
			require.NoError(t, err)
			certs, key, err := azidentity.ParseCertificates(content, nil)
			require.NoError(t, err)
			o := &azidentity.ClientCertificateCredentialOptions{ClientOptions: w.options, DisableInstanceDiscovery: w.disableInstanceDiscovery, SendCertificateChain: true}
			c, err := azidentity.NewClientCertificateCredential(w.em.TenantID(), w.em.Applications()[0].ClientID, certs, key, o)
			require.NoError(t, err)
			w.check(t, c, s, "client_assertion")

			require.NoError(t, file.Rotate())
			c, err = azidentity.NewClientCertificateCredential(w.em.TenantID(), w.em.Applications()[0].ClientID, certs, key, o)
			require.NoError(t, err)
			_, err = c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{vault + "/.default"}})
			require.ErrorContains(t, err, "AADSTS700027")
		})
	}
}

func TestAzidentity_managedIdentityAsAssertion(t *testing.T) {
	em := managedidtest.New(nil) // for the IDs, which are the same in each
	issuer := "https://login.microsoftonline.com/" + em.TenantID() + "/v2.0"
	em = managedidtest.New(&managedidtest.Options{Applications: []managedidtest.Application{{Federated: []managedidtest.FederatedCredential{
		{Issuer: issuer, Subject: em.SystemAssigned().ObjectID}}}}})
	em.Setenv(t) // IMDS is where the library takes it to be
	host, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}})
	require.NoError(t, err)
	c, err := azidentity.NewClientAssertionCredential(em.TenantID(), em.Applications()[0].ClientID, func(ctx context.Context) (string, error) {
		got, err := host.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"api://AzureADTokenExchange/.default"}})
		return got.Token, err
	}, &azidentity.ClientAssertionCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}})
	require.NoError(t, err)
	_, err = c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{vault + "/.default"}})
	require.NoError(t, err)
}

func TestAzidentity_workloadIdentity(t *testing.T) {
	s, all := ways(t)
	for _, w := range all {
		t.Run(w.name, func(t *testing.T) {
			w.em.Setenv(t, managedidtest.Workload)
			c, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
				ClientOptions: w.options, DisableInstanceDiscovery: w.disableInstanceDiscovery})
			require.NoError(t, err)
			w.check(t, c, s, "client_assertion")
		})
	}
}

func TestAzidentity_defaultChain(t *testing.T) {
	for host, parameter := range map[managedidtest.Endpoint]string{managedidtest.EntraSecret: "client_secret",
		managedidtest.EntraCertificate: "client_assertion", managedidtest.Workload: "client_assertion"} {
		t.Run(string(host), func(t *testing.T) {
			s, all := ways(t)
			all[0].em.Setenv(t, host)
			c, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
				ClientOptions: azcore.ClientOptions{Transport: s.Client()}, DisableInstanceDiscovery: true})
			require.NoError(t, err)
			all[0].check(t, c, s, parameter)
		})
	}
}
