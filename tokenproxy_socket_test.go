package managedid

import (
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// onHandshake are options with which each handshake is preceded by a call.
func onHandshake(do func()) (o WorkloadIdentityCredentialOptions) {
	trace := &httptrace.ClientTrace{TLSHandshakeStart: do}
	o.PerRetryPolicies = []policy.Policy{policyFunc(func(r *policy.Request) (*http.Response, error) {
		return r.WithContext(httptrace.WithClientTrace(r.Raw().Context(), trace)).Next()
	})}
	return o
}

// All that follows the read of the file comes too late for the first handshake.
func TestTokenProxy_rotatesBetweenFileAndHandshake(t *testing.T) {
	var handshakes int
	var once sync.Once
	var p *managedidtest.TokenProxy
	var s *managedidtest.Server
	s, p, c := newBound(t, onHandshake(func() {
		handshakes++
		once.Do(func() { require.NoError(t, p.Rotate()) })
	}))
	require.NoError(t, get(ctx0, c, vault).err, "without another try by azcore")
	require.Equal(t, 2, handshakes)
	require.Len(t, s.Requests(), 1, "nothing was sent to the untrusted one")
	require.Equal(t, 200, s.Requests()[0].Status)
}

func TestTokenProxy_anUntrustedOneIsAskedOnce(t *testing.T) {
	const see = "; see that AZURE_KUBERNETES_CA_FILE or AZURE_KUBERNETES_CA_DATA has the proxy's authority, and AZURE_KUBERNETES_SNI_NAME its name"
	blankEnvironment(t)
	s := managedidtest.NewServer(nil)
	defer s.Close()
	other, err := s.NewTokenProxy(t.TempDir())
	require.NoError(t, err)
	p, err := s.NewTokenProxy(t.TempDir())
	require.NoError(t, err)
	for _, row := range []struct{ name, file, problem string }{
		{"another authority's", other.CAFile, "x509: certificate signed by unknown authority"},
		{"the system's roots", "", "x509: certificate signed by unknown authority"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s.Setenv(t, managedidtest.IdentityBinding)
			t.Setenv(tokenProxyCAFile, row.file)
			var handshakes int
			o := onHandshake(func() { handshakes++ })
			o.EnableAzureProxy = true
			c, err := NewWorkloadIdentityCredential(&o)
			require.NoError(t, err)
			err = get(ctx0, c, vault).err
			require.Equal(t, ReasonNotReady, asCredentialError(t, err))
			requireError(t, err, nameWorkloadIdentity+": Entra: no token from the token proxy "+p.URL[len("https://"):]+": tls: failed to verify certificate: "+row.problem+see)
			require.Equal(t, 1, handshakes)
		})
	}
	require.Empty(t, s.Requests())
}

func TestTokenProxy_theFilesPathIsNamedWhatever(t *testing.T) {
	_, p, _ := newBound(t, WorkloadIdentityCredentialOptions{})
	dir := filepath.Join(t.TempDir(), `a "malformed" path`)
	require.NoError(t, os.Mkdir(dir, 0o700))
	file := filepath.Join(dir, "ca.crt")
	require.NoError(t, os.Rename(p.CAFile, file))
	t.Setenv(tokenProxyCAFile, file)
	o := WorkloadIdentityCredentialOptions{ClientOptions: noRetries, EnableAzureProxy: true}
	c, err := NewWorkloadIdentityCredential(&o)
	require.NoError(t, err)
	writeFile(t, file, "text")
	require.ErrorContains(t, get(ctx0, c, vault).err, "the file "+file+", from AZURE_KUBERNETES_CA_FILE, can't be used: it has no certificate in PEM")
}

func TestTokenProxy_takesEveryRequest(t *testing.T) {
	blankEnvironment(t)
	s := managedidtest.NewServer(&managedidtest.Options{OtherTenants: []string{"other"}})
	defer s.Close()
	p, err := s.NewTokenProxy(t.TempDir())
	require.NoError(t, err)
	s.Setenv(t, managedidtest.IdentityBinding)
	home := "/" + s.TenantID() + "/oauth2/v2.0/token"
	for _, row := range []struct{ name, authority, region, prefix, tenant, host, path string }{
		{"public", "", "", "", "", "login.microsoftonline.com", home},
		{"prefix", "", "", "/base", "", "login.microsoftonline.com", "/base" + home},
		{"tenant by request", "", "", "", "other", "login.microsoftonline.com", "/other/oauth2/v2.0/token"},
		{"region", "", "westus2", "", "", "westus2.login.microsoft.com", home},
		{"region, tenant and prefix", "", "westus2", "/base/", "other", "westus2.login.microsoft.com", "/base/other/oauth2/v2.0/token"},
		{"cloud", "https://login.microsoftonline.us/", "", "", "", "login.microsoftonline.us", home},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Setenv("AZURE_AUTHORITY_HOST", row.authority)
			t.Setenv("AZURE_REGIONAL_AUTHORITY_NAME", row.region)
			t.Setenv(tokenProxyVariable, p.URL+row.prefix)
			c, err := NewWorkloadIdentityCredential(&WorkloadIdentityCredentialOptions{EnableAzureProxy: true, Cache: NewTokenCache(nil),
				AdditionallyAllowedTenants: []string{"other"}})
			require.NoError(t, err)
			_, err = c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: []string{vault}, TenantID: row.tenant})
			require.NoError(t, err)
			log := s.Requests()
			require.Equal(t, row.host, log[len(log)-1].Host)
			require.Equal(t, row.path, log[len(log)-1].Path)
		})
	}
}

func TestTokenProxy_noChainEnablesIt(t *testing.T) {
	f := &fakeEntra{}
	blankEnvironment(t)
	file := filepath.Join(t.TempDir(), "token")
	writeFile(t, file, "a.b.c")
	setenv(t, "AZURE_TENANT_ID="+someTenant, "AZURE_CLIENT_ID="+someClient, "AZURE_FEDERATED_TOKEN_FILE="+file,
		tokenProxyVariable+"=http://not.https", tokenProxyCAFile+"=none", tokenProxyCAData+"=text", tokenProxySNI+"=h.ests.aks")
	c := newDefault(t, DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: f}})
	require.NoError(t, get(ctx0, c, vault).err)
	require.Equal(t, 1, f.count())
}

func TestTokenProxy_whatNamesItInACache(t *testing.T) {
	blankEnvironment(t)
	ca, seen := string(fixture(t, "ca.pem")), map[string]string{}
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		writeFile(t, filepath.Join(dir, name), ca)
	}
	for _, row := range []struct {
		name        string
		environment []string
	}{
		{"address", []string{tokenProxyVariable + "=https://a"}},
		{"another address", []string{tokenProxyVariable + "=https://b"}},
		{"prefix", []string{tokenProxyVariable + "=https://a/base"}},
		{"name", []string{tokenProxyVariable + "=https://a", tokenProxySNI + "=x.ests.aks"}},
		{"another name", []string{tokenProxyVariable + "=https://a", tokenProxySNI + "=y.ests.aks"}},
		{"file", []string{tokenProxyVariable + "=https://a", tokenProxyCAFile + "=" + filepath.Join(dir, "a")}},
		{"another file", []string{tokenProxyVariable + "=https://a", tokenProxyCAFile + "=" + filepath.Join(dir, "b")}},
		{"certificates", []string{tokenProxyVariable + "=https://a", tokenProxyCAData + "=" + ca}},
		{"other certificates", []string{tokenProxyVariable + "=https://a", tokenProxyCAData + "=" + ca + ca}},
	} {
		t.Run(row.name, func(t *testing.T) {
			setenv(t, row.environment...)
			p, err := newTokenProxy()
			require.NoError(t, err)
			require.Empty(t, seen[p.identity])
			seen[p.identity] = row.name
			require.NotContains(t, p.identity, "CERTIFICATE")
		})
	}
	t.Setenv(tokenProxyVariable, "https://a/")
	p, err := newTokenProxy()
	require.NoError(t, err)
	require.Equal(t, "address", seen[p.identity], "an empty path is /")
}
