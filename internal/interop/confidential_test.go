package interop

import (
	"context"
	"net/http"
	"os"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// msal is MSAL Go's confidential client as a credential.
type msal struct{ confidential.Client }

func (c msal) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	got, err := c.AcquireTokenByCredential(ctx, o.Scopes)
	return azcore.AccessToken{Token: got.AccessToken, ExpiresOn: got.ExpiresOn}, err
}

func TestMSAL_confidentialClient(t *testing.T) {
	s, all := ways(t)
	for _, w := range all {
		file, err := w.em.NewCertificateFile(t.TempDir())
		require.NoError(t, err)
		content, err := os.ReadFile(file.Path)
		require.NoError(t, err)
		certs, key, err := confidential.CertFromPEM(content, "")
		require.NoError(t, err)
		pod, err := w.em.NewTokenFile(t.TempDir(), nil)
		require.NoError(t, err)
		app := w.em.Applications()[0]
		secret, err := confidential.NewCredFromSecret(app.Secrets[0].Value)
		require.NoError(t, err)
		certificate, err := confidential.NewCredFromCert(certs, key)
		require.NoError(t, err)
		assertion := confidential.NewCredFromAssertionCallback(func(context.Context, confidential.AssertionRequestOptions) (string, error) {
			content, err := os.ReadFile(pod.Path)
			return string(content), err
		})
		for name, row := range map[string]struct {
			cred      confidential.Credential
			parameter string
		}{"secret": {secret, "client_secret"}, "certificate": {certificate, "client_assertion"}, "assertion": {assertion, "client_assertion"}} {
			t.Run(name+" "+w.name, func(t *testing.T) {
				authority, via := "https://login.microsoftonline.com/", &http.Client{Transport: w.em}
				if w.disableInstanceDiscovery {
					authority, via = s.AuthorityHost, s.Client()
				}
				c, err := confidential.New(authority+w.em.TenantID(), app.ClientID, row.cred, confidential.WithHTTPClient(via),
					confidential.WithInstanceDiscovery(!w.disableInstanceDiscovery), confidential.WithClientCapabilities([]string{"CP1"}))
				require.NoError(t, err)
				before := len(w.em.Requests())
				w.checkAfter(t, before, msal{c}, s, row.parameter)
			})
		}
	}
}

// TestMSAL_aRetriedRequestOfCloudShell shows that the emulator refuses what the real endpoint would: MSAL Go v1.10.1 sends the
// second try without the body.
func TestMSAL_aRetriedRequestOfCloudShell(t *testing.T) {
	s := managedidtest.NewServer(nil)
	t.Cleanup(s.Close)
	s.Setenv(t, managedidtest.CloudShell)
	s.Inject(managedidtest.Fault{Endpoint: managedidtest.CloudShell, Count: 1, Status: 500})
	get, err := newMSAL(system, nil)
	require.NoError(t, err)
	resource := newResource()
	_, _, err = get(t.Context(), resource)
	require.Error(t, err)
	log := s.Requests()
	require.Equal(t, []int{500, 400}, []int{log[0].Status, log[1].Status})
	require.Equal(t, []string{resource, ""}, []string{log[0].Resource, log[1].Resource})
}
