package conformance

import (
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
)

// secretHosts are the emulator's, over sockets.
var secretHosts = []managedidtest.Endpoint{managedidtest.IMDS, managedidtest.AppService, managedidtest.AppService2017, managedidtest.AzureML,
	managedidtest.CloudShell, managedidtest.ServiceFabric, managedidtest.EntraSecret, managedidtest.EntraCertificate, managedidtest.Workload,
	managedidtest.IdentityBinding}

// askEmulator looks at what the emulator prints and writes, too.
func askEmulator(t *testing.T, k canaries, host managedidtest.Endpoint) []string {
	blankEnvironment(t)
	s := newServer(t, host, nil)
	k = maps.Clone(k)
	said := ""
	for _, name := range []string{"IDENTITY_HEADER", "MSI_SECRET", "AZURE_CLIENT_SECRET"} {
		said += os.Getenv(name)
	}
	k.add("the emulator's", said)
	w := newWitness(t, k)
	o := w.options()
	o.Retry = noRetries.Retry
	if host == managedidtest.EntraSecret || host == managedidtest.EntraCertificate || host == managedidtest.Workload {
		o.Transport = s.Client()
	}
	for i, fault := range []managedidtest.Fault{{}, {Reset: true}, {Status: 200, Body: `{"access_token":"` + canaryToken + `"}`}, {Status: 307, Header: http.Header{"Location": {"/" + said}}},
		{Status: 400, Body: `{"error":"x","error_description":"you sent ` + said + `"}`, Header: http.Header{"Www-Authenticate": {said}}}} {
		fault.Count = 1
		s.Inject(fault)
		c := emulated(t, host, o, w)
		_, err := c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: []string{vault}, Claims: `{}`, EnableCAE: true})
		require.Equal(t, i == 0, err == nil, "%v", err)
		require.Empty(t, waitForGoroutines())
		w.showError(err)
		w.show("credential", c)
	}
	for _, v := range []any{s, s.Emulator, s.Requests(), &s.Requests()[0], s.Applications()} {
		w.show("emulator", v)
	}
	require.NoError(t, filepath.WalkDir(filepath.Dir(t.TempDir()), func(path string, d fs.DirEntry, err error) error {
		if info, e := d.Info(); e == nil && d.Type().IsRegular() {
			require.True(t, info.Mode()&0o077 == 0 || runtime.GOOS == "windows", path)
			if at, _ := filepath.EvalSymlinks(os.Getenv("AZURE_FEDERATED_TOKEN_FILE")); path != at && path != os.Getenv("AZURE_CLIENT_CERTIFICATE_PATH") {
				content, _ := os.ReadFile(path)
				require.NotContains(t, string(content), "PRIVATE KEY", path)
				w.print("the emulator's files", "%s", content)
			}
		}
		return err
	}))
	return w.requireSilence(t)
}

func emulated(t *testing.T, host managedidtest.Endpoint, o azcore.ClientOptions, w *witness) azcore.TokenCredential {
	if host == managedidtest.IdentityBinding { // which no chain enables
		c, err := managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{ClientOptions: o, Logger: w.logger(), EnableAzureProxy: true})
		require.NoError(t, err)
		return c
	}
	return newDefault(t, managedid.DefaultAzureCredentialOptions{ClientOptions: o, Logger: w.logger()})
}
