package managedidtest

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEnviron_isThatOfAHost(t *testing.T) {
	e := New(nil)
	tests := []struct {
		host Endpoint
		set  map[string]string
	}{
		{IMDS, map[string]string{"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://169.254.169.254"}},
		{AppService, map[string]string{"IDENTITY_ENDPOINT": "http://169.254.169.254/msi/token", "IDENTITY_HEADER": e.s.secret}},
		{Keys, map[string]string{}},
		{"", map[string]string{}},
	}
	for _, tt := range tests {
		t.Run(string(tt.host), func(t *testing.T) {
			env := e.Environ(tt.host)
			for _, name := range []string{
				"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET",
				"DEFAULT_IDENTITY_CLIENT_ID", "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET",
				"AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_USERNAME", "AZURE_PASSWORD",
				"AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST", "AZURE_TOKEN_CREDENTIALS",
				"AZURE_ADDITIONALLY_ALLOWED_TENANTS", "AZURE_REGIONAL_AUTHORITY_NAME", "AZURE_POD_IDENTITY_AUTHORITY_HOST",
			} {
				value, present := env[name]
				require.True(t, present, name)
				require.Equal(t, tt.set[name], value, name)
			}
		})
	}
}

func TestSetenv_isForTheTest(t *testing.T) {
	e := New(nil)
	t.Setenv("AZURE_CLIENT_SECRET", "of the machine")
	t.Run("inside", func(t *testing.T) {
		e.Setenv(t, IMDS)
		require.Equal(t, e.URL, os.Getenv("AZURE_POD_IDENTITY_AUTHORITY_HOST"))
		require.Empty(t, os.Getenv("AZURE_CLIENT_SECRET"))
	})
	require.Equal(t, "of the machine", os.Getenv("AZURE_CLIENT_SECRET"))
}

func TestOptions_zeroMeansMadeUpAndStable(t *testing.T) {
	a := New(&Options{UserAssigned: []Identity{{}, {ClientID: "given"}}})
	b := New(&Options{UserAssigned: []Identity{{}, {ClientID: "given"}}, SystemAssigned: &Identity{}})
	require.Equal(t, a.TenantID(), b.TenantID())
	require.Equal(t, a.SystemAssigned(), b.SystemAssigned())
	require.Equal(t, a.UserAssigned(), b.UserAssigned())
	all := append(a.UserAssigned(), a.SystemAssigned())
	seen := map[string]bool{}
	for _, id := range all {
		if id.ClientID != "given" {
			require.Regexp(t, "^"+guid+"$", id.ClientID)
		}
		require.Regexp(t, "^"+guid+"$", id.ObjectID)
		require.Regexp(t, "^/subscriptions/"+guid+"/resourceGroups/emulator/providers/Microsoft", id.ResourceID)
		seen[id.ClientID], seen[id.ObjectID], seen[id.ResourceID] = true, true, true
	}
	require.Len(t, seen, 9)
	require.Regexp(t, "^"+guid+"$", a.TenantID())
	require.Equal(t, "t", New(&Options{TenantID: "t"}).TenantID())
	require.Zero(t, New(&Options{NoSystemAssigned: true}).SystemAssigned())
	require.Empty(t, New(nil).UserAssigned())
	a.UserAssigned()[1].ClientID = "changed"
	require.Equal(t, "given", a.UserAssigned()[1].ClientID)
}
