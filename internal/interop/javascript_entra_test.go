package interop

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

func TestJavaScript_entra(t *testing.T) {
	javascript(t)
	for _, row := range []struct {
		name       string
		host       managedidtest.Endpoint
		credential string
		parameter  string // what the application proves itself by
	}{
		{"client secret", managedidtest.EntraSecret, "EnvironmentCredential", "client_secret"},
		{"client certificate", managedidtest.EntraCertificate, "EnvironmentCredential", "client_assertion"},
		{"workload identity", managedidtest.Workload, "WorkloadIdentityCredential", "client_assertion"},
		{"token exchange", managedidtest.Workload, managedIdentity, "client_assertion"},
		{"default chain, client secret", managedidtest.EntraSecret, "DefaultAzureCredential", "client_secret"},
		{"default chain, client certificate", managedidtest.EntraCertificate, "DefaultAzureCredential", "client_assertion"},
		{"default chain, workload identity", managedidtest.Workload, "DefaultAzureCredential", "client_assertion"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := managedidtest.NewServer(nil)
			t.Cleanup(s.Close)
			got := node(t, nodeEnviron(t, s, row.host), row.credential, `{"disableInstanceDiscovery":true}`, "token", vault)
			checkExchange(t, s, got, row.parameter, "GET /"+s.TenantID()+"/v2.0/.well-known/openid-configuration", "POST /"+s.TenantID()+"/oauth2/v2.0/token")
		})
	}
}

// checkExchange asserts that the first application got a token, and what was sent to Entra for it.
func checkExchange(t *testing.T, s *managedidtest.Server, got printed, parameter string, requests ...string) {
	t.Helper()
	log := s.Requests()
	c := got.verify(t, s, vault)
	require.Equal(t, s.Applications()[0].ClientID, c.ClientID)
	require.Equal(t, s.TenantID(), c.TenantID)
	var sent []string
	for _, r := range log {
		sent = append(sent, r.Method+" "+r.Path)
		require.Equal(t, 200, r.Status)
	}
	require.Equal(t, requests, sent)
	last := log[len(log)-1]
	require.Equal(t, c.ClientID, last.Identity)
	require.Equal(t, vault+"/.default", last.Form.Get("scope"))
	for _, name := range []string{"client_secret", "client_assertion"} {
		require.Equal(t, name == parameter, last.Form.Has(name))
	}
}
