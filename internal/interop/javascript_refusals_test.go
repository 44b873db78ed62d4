package interop

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// javascriptRefusals are what the emulator, or the library itself, says to a process whose environment was spoiled. An answer
// without a body, or one that is no JSON, the library does not survive: then the error is its own.
var javascriptRefusals = []struct {
	name       string
	host       managedidtest.Endpoint
	credential string
	options    string
	spoil      func(t *testing.T, s *managedidtest.Server, env map[string]string)
	status     int    // 0: the library sends nothing
	want       string // in the error
}{
	{"unknown identity", managedidtest.IMDS, managedIdentity, unknown, nil, 400, "Identity not found"},
	{"unknown identity", managedidtest.AppService, managedIdentity, unknown, nil, 400, "Unable to load the proper Managed Identity."},
	{"unknown identity", managedidtest.AzureML, managedIdentity, unknown, nil, 404, "network_error"},
	{"wrong secret", managedidtest.AppService, managedIdentity, `{}`, rotateSecret, 403, "reading 'expires_on'"},
	{"wrong secret", managedidtest.AzureML, managedIdentity, `{}`, rotateSecret, 403, "reading 'expires_on'"},
	{"wrong secret", managedidtest.ServiceFabric, managedIdentity, withoutRetries, rotateSecret, 404, "Managed identity not found for the specified application host."},
	{"client ID", managedidtest.CloudShell, managedIdentity, unknown, nil, 0, "not supported for CloudShell"},
	{"client ID", managedidtest.ServiceFabric, managedIdentity, unknown, nil, 0, "not supported by the Service Fabric managed identity environment"},
	{"object ID", managedidtest.AzureML, managedIdentity, optionsFor(byObjectID), nil, 0, "Only client id is supported"},
	{"resource ID", managedidtest.AzureML, managedIdentity, optionsFor(byResourceID), nil, 0, "Only client id is supported"},
	{"unknown application", managedidtest.EntraSecret, "EnvironmentCredential", noDiscovery, otherClient, 400,
		"AADSTS700016: Application with identifier '" + user.ClientID + "' was not found"},
	{"unknown application", managedidtest.Workload, "WorkloadIdentityCredential", noDiscovery, otherClient, 400, "AADSTS700016: "},
	{"unknown application", managedidtest.Workload, managedIdentity, `{}`, otherClient, 400, "AADSTS700016: "},
	{"wrong client secret", managedidtest.EntraSecret, "EnvironmentCredential", noDiscovery, func(_ *testing.T, _ *managedidtest.Server, env map[string]string) {
		env["AZURE_CLIENT_SECRET"] = "wrong"
	}, 401, "AADSTS7000215: "},
	{"unregistered certificate", managedidtest.EntraCertificate, "EnvironmentCredential", noDiscovery, func(t *testing.T, _ *managedidtest.Server, env map[string]string) {
		f, err := managedidtest.New(nil).NewCertificateFile(t.TempDir())
		require.NoError(t, err)
		env["AZURE_CLIENT_CERTIFICATE_PATH"] = f.Path
	}, 401, "AADSTS700027: "},
	{"assertion for another audience", managedidtest.Workload, "WorkloadIdentityCredential", noDiscovery, func(t *testing.T, s *managedidtest.Server, env map[string]string) {
		f, err := s.NewTokenFile(t.TempDir(), &managedidtest.TokenFileOptions{Audience: "another"})
		require.NoError(t, err)
		env["AZURE_FEDERATED_TOKEN_FILE"] = f.Path
	}, 401, "AADSTS700212: "},
	{"expired assertion", managedidtest.Workload, managedIdentity, `{}`, func(t *testing.T, s *managedidtest.Server, env map[string]string) {
		f, err := s.NewTokenFile(t.TempDir(), &managedidtest.TokenFileOptions{Lifetime: -1})
		require.NoError(t, err)
		env["AZURE_FEDERATED_TOKEN_FILE"] = f.Path
	}, 401, "AADSTS700024: "},
}

const (
	retries        = `"retryOptions":{"maxRetries":0}` // it sends what got 404 again for half a minute
	withoutRetries = `{` + retries + `}`
	unknown        = `{"clientId":"0b4ff0a1-0000-4000-8000-000000000000",` + retries + `}`
	noDiscovery    = `{"disableInstanceDiscovery":true}`
)

func rotateSecret(_ *testing.T, s *managedidtest.Server, _ map[string]string) { s.RotateSecret() }

func otherClient(_ *testing.T, _ *managedidtest.Server, env map[string]string) {
	env["AZURE_CLIENT_ID"] = user.ClientID
}

func TestJavaScript_refusals(t *testing.T) {
	javascript(t)
	for _, row := range javascriptRefusals {
		t.Run(row.name+" at "+string(row.host)+" "+row.credential, func(t *testing.T) {
			t.Parallel()
			s := managedidtest.NewServer(nil)
			t.Cleanup(s.Close)
			env := nodeEnviron(t, s, row.host)
			if row.spoil != nil {
				row.spoil(t, s, env)
			}
			got := node(t, env, row.credential, row.options, "token", vault)
			require.True(t, got.Token == "")
			require.Contains(t, got.Error, row.want)
			log := sentFor(s, vault)
			if row.status == 0 {
				require.Empty(t, log)
				return
			}
			require.Len(t, log, 1)
			require.Equal(t, row.status, log[0].Status)
			require.Empty(t, log[0].Identity)
		})
	}
}
