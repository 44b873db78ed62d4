package managedidtest

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEnviron_isThatOfItsHosts(t *testing.T) {
	e := New(&Options{Applications: []Application{{ClientID: "C", Secrets: []Secret{{Value: "x"}, {Value: "y"}}}, {}}})
	imds := map[string]string{"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://169.254.169.254"}
	app := map[string]string{"IDENTITY_ENDPOINT": "http://169.254.169.254/msi/token", "IDENTITY_HEADER": e.s.secret}
	entra := map[string]string{
		"AZURE_TENANT_ID": e.TenantID(), "AZURE_CLIENT_ID": "C",
		"AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
	}
	shell := map[string]string{"MSI_ENDPOINT": "http://169.254.169.254/oauth2/token"}
	ml := map[string]string{"MSI_ENDPOINT": "http://169.254.169.254/msi/auth", "MSI_SECRET": e.s.secret,
		"DEFAULT_IDENTITY_CLIENT_ID": e.SystemAssigned().ClientID}
	oldApp := map[string]string{"MSI_ENDPOINT": "http://169.254.169.254/msi/token", "MSI_SECRET": e.s.secret}
	secret := map[string]string{"AZURE_CLIENT_SECRET": "x"}
	file := map[string]string{"AZURE_FEDERATED_TOKEN_FILE": newTokenFile(t, e, nil).Path}
	for _, tt := range []struct {
		name  string
		hosts []Endpoint
		set   []map[string]string
	}{
		{"IMDS", []Endpoint{IMDS}, []map[string]string{imds}},
		{"App Service", []Endpoint{AppService}, []map[string]string{app}},
		{"Arc", []Endpoint{Arc}, []map[string]string{{"IMDS_ENDPOINT": "http://169.254.169.254/arc",
			"IDENTITY_ENDPOINT": "http://169.254.169.254/arc/metadata/identity/oauth2/token"}}},
		{"Cloud Shell", []Endpoint{CloudShell}, []map[string]string{shell}},
		{"Azure ML", []Endpoint{AzureML}, []map[string]string{ml}},
		{"Service Fabric", []Endpoint{ServiceFabric}, []map[string]string{{
			"IDENTITY_ENDPOINT": "https://localhost:2377/metadata/identity/oauth2/token",
			"IDENTITY_HEADER":   e.s.secret, "IDENTITY_SERVER_THUMBPRINT": thumbprintOf([]byte("no certificate"))}}},
		{"App Service in 2017", []Endpoint{AppService2017}, []map[string]string{oldApp}},
		{"a secret", []Endpoint{EntraSecret}, []map[string]string{entra, secret}},
		{"a pod", []Endpoint{Workload}, []map[string]string{entra, file}},
		{"a pod with a secret on a node", []Endpoint{IMDS, Workload, EntraSecret},
			[]map[string]string{imds, entra, file, secret}},
		{"no host", nil, nil},
		{"nothing", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := map[string]string{}
			for _, name := range variables {
				want[name] = ""
			}
			for _, set := range tt.set {
				maps.Copy(want, set)
			}
			for name, value := range e.Environ(tt.hosts...) {
				require.True(t, value == want[name], name)
				delete(want, name)
			}
			require.Empty(t, slices.Collect(maps.Keys(want)))
		})
	}
}

func TestEnviron_coversWhatLibrariesRead(t *testing.T) {
	for _, name := range []string{
		"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT", "MSI_ENDPOINT",
		"MSI_SECRET",
		"DEFAULT_IDENTITY_CLIENT_ID", "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET",
		"AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_USERNAME", "AZURE_PASSWORD",
		"AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST", "AZURE_TOKEN_CREDENTIALS",
		"AZURE_ADDITIONALLY_ALLOWED_TENANTS", "AZURE_REGIONAL_AUTHORITY_NAME", "AZURE_POD_IDENTITY_AUTHORITY_HOST",
	} {
		require.Contains(t, variables, name)
	}
}

func TestSetenv_makesATokenFile(t *testing.T) {
	e := New(nil)
	var first string
	t.Run("in the test's directory", func(t *testing.T) {
		e.Setenv(t, Workload)
		first = os.Getenv("AZURE_FEDERATED_TOKEN_FILE")
		requestToken(t, e, withAssertion(read(t, first))...)
		e.Setenv(t, Workload, EntraSecret)
		require.Equal(t, first, os.Getenv("AZURE_FEDERATED_TOKEN_FILE"), "it is still there")
	})
	t.Run("and in that of the next test", func(t *testing.T) {
		e.Setenv(t, Workload)
		require.NotEqual(t, first, os.Getenv("AZURE_FEDERATED_TOKEN_FILE"))
		requestToken(t, e, withAssertion(read(t, os.Getenv("AZURE_FEDERATED_TOKEN_FILE")))...)
	})
	f := newTokenFile(t, e, nil)
	t.Run("unless there is one", func(t *testing.T) {
		e.Setenv(t, Workload)
		require.Equal(t, f.Path, os.Getenv("AZURE_FEDERATED_TOKEN_FILE"))
	})
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

func TestApplications_zeroMeansMadeUp(t *testing.T) {
	given := []Application{{}, {ClientID: "C", Secrets: []Secret{}, Federated: []FederatedCredential{}},
		{Federated: []FederatedCredential{{Audience: "A"}}}}
	a, b := New(&Options{Applications: given}).Applications(), New(&Options{Applications: given}).Applications()
	require.Len(t, a, 3)
	require.Regexp(t, "^"+guid+"$", a[0].ClientID)
	require.Regexp(t, "^"+guid+"$", a[0].ObjectID)
	require.Equal(t, "C", a[1].ClientID)
	seen := map[string]bool{}
	for i := range a {
		require.Equal(t, a[i].ClientID, b[i].ClientID, "the same in every run")
		require.Equal(t, a[i].ObjectID, b[i].ObjectID)
		require.Equal(t, a[i].Federated, b[i].Federated)
		seen[a[i].ClientID], seen[a[i].ObjectID] = true, true
	}
	require.Len(t, seen, 6)
	for _, app := range [][]Application{a, b} {
		require.Len(t, app[0].Secrets, 1)
		require.True(t, regexp.MustCompile(`^[\w-]{3}8Q~[\w-]{34}$`).MatchString(app[0].Secrets[0].Value))
		require.Zero(t, app[0].Secrets[0].Expires)
	}
	require.False(t, a[0].Secrets[0].Value == b[0].Secrets[0].Value, "random in every emulator")
	issuer := "https://oidc.prod-aks.azure.com/" + stableGUID("cluster") + "/"
	require.Equal(t, []FederatedCredential{{issuer, "system:serviceaccount:default:emulator",
		"api://AzureADTokenExchange"}}, a[0].Federated)
	require.Equal(t, []FederatedCredential{{issuer, "system:serviceaccount:default:emulator", "A"}}, a[2].Federated)
	require.Empty(t, a[1].Secrets)
	require.Empty(t, a[1].Federated)
	require.Empty(t, given[0].ClientID, "what was given stays")
	require.Empty(t, given[2].Federated[0].Issuer)
	require.Len(t, New(nil).Applications(), 1)
}

func TestApplications_areCopies(t *testing.T) {
	given := []Application{{Secrets: []Secret{{Value: "x"}}, Federated: []FederatedCredential{{}}}}
	e := New(&Options{Applications: given})
	for _, all := range [][]Application{given, e.Applications()} {
		all[0].ClientID, all[0].Secrets[0].Value, all[0].Federated[0].Issuer = "changed", "changed", "changed"
	}
	requestToken(t, e, "client_secret=x")
	require.NotEqual(t, "changed", e.Applications()[0].ClientID)
	require.NotEqual(t, "changed", e.Applications()[0].Federated[0].Issuer)
}

func TestEnviron_ofAnApplicationWithoutASecret(t *testing.T) {
	e := New(&Options{Applications: []Application{{Secrets: []Secret{}}}})
	require.Empty(t, e.Environ(EntraSecret)["AZURE_CLIENT_SECRET"])
}

func TestEnviron_panicsForAnEndpointThatIsNoHost(t *testing.T) {
	for _, at := range []Endpoint{Keys, Entra, Discovery} {
		require.Panics(t, func() { New(nil).Environ(at) })
	}
}
