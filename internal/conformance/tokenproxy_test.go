package conformance

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
)

// onHandshake are options with which each handshake is preceded by a call.
func onHandshake(do func()) (o managedid.WorkloadIdentityCredentialOptions) {
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
	require.NoError(t, get(ctx0, c, vault).Err, "without another try by azcore")
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
			t.Setenv("AZURE_KUBERNETES_CA_FILE", row.file)
			var handshakes int
			o := onHandshake(func() { handshakes++ })
			o.EnableAzureProxy = true
			c, err := managedid.NewWorkloadIdentityCredential(&o)
			require.NoError(t, err)
			err = get(ctx0, c, vault).Err
			require.Equal(t, managedid.ReasonNotReady, asCredentialError(t, err))
			requireError(t, err, "WorkloadIdentityCredential: Entra: no token from the token proxy "+p.URL[len("https://"):]+": tls: failed to verify certificate: "+row.problem+see)
			require.Equal(t, 1, handshakes)
		})
	}
	require.Empty(t, s.Requests())
}

func TestTokenProxy_theFilesPathIsNamedWhatever(t *testing.T) {
	_, p, _ := newBound(t, managedid.WorkloadIdentityCredentialOptions{})
	dir := filepath.Join(t.TempDir(), `a "malformed" path`)
	require.NoError(t, os.Mkdir(dir, 0o700))
	file := filepath.Join(dir, "ca.crt")
	require.NoError(t, os.Rename(p.CAFile, file))
	t.Setenv("AZURE_KUBERNETES_CA_FILE", file)
	o := managedid.WorkloadIdentityCredentialOptions{ClientOptions: noRetries, EnableAzureProxy: true}
	c, err := managedid.NewWorkloadIdentityCredential(&o)
	require.NoError(t, err)
	writeFile(t, file, "text")
	require.ErrorContains(t, get(ctx0, c, vault).Err, "the file "+file+", from AZURE_KUBERNETES_CA_FILE, can't be used: it has no certificate in PEM")
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
			t.Setenv("AZURE_KUBERNETES_TOKEN_PROXY", p.URL+row.prefix)
			c, err := managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{EnableAzureProxy: true, Cache: managedid.NewTokenCache(nil),
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
		"AZURE_KUBERNETES_TOKEN_PROXY=http://not.https", "AZURE_KUBERNETES_CA_FILE=none", "AZURE_KUBERNETES_CA_DATA=text", "AZURE_KUBERNETES_SNI_NAME=h.ests.aks")
	c := newDefault(t, managedid.DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: f}})
	require.NoError(t, get(ctx0, c, vault).Err)
	require.Equal(t, 1, f.Count())
}

// newBound makes a cluster's proxy, and a credential for a pod with an identity binding that is tried once.
func newBound(t *testing.T, o managedid.WorkloadIdentityCredentialOptions) (*managedidtest.Server, *managedidtest.TokenProxy, *managedid.WorkloadIdentityCredential) {
	t.Helper()
	checkGoroutines(t)
	s := managedidtest.NewServer(nil)
	t.Cleanup(s.Close)
	p, err := s.NewTokenProxy(t.TempDir())
	require.NoError(t, err)
	s.Setenv(t, managedidtest.IdentityBinding)
	t.Setenv("AZURE_AUTHORITY_HOST", "")
	o.EnableAzureProxy, o.Retry = true, noRetries.Retry
	c, err := managedid.NewWorkloadIdentityCredential(&o)
	require.NoError(t, err)
	return s, p, c
}

func TestVector20_theCAFileIsEmptiedThenNew(t *testing.T) {
	s, p, c := newBound(t, managedid.WorkloadIdentityCredentialOptions{})
	old, err := os.ReadFile(p.CAFile)
	require.NoError(t, err)
	require.NoError(t, get(ctx0, c, "api://first/.default").Err)
	writeFile(t, p.CAFile, "\n")
	require.NoError(t, get(ctx0, c, "api://emptied/.default").Err, "what was trusted is")
	require.NoError(t, p.Rotate())
	require.NoError(t, get(ctx0, c, "api://new/.default").Err)
	writeFile(t, p.CAFile, string(old))
	err = get(ctx0, c, "api://old/.default").Err
	require.Equal(t, managedid.ReasonNotReady, asCredentialError(t, err), "only what the file has is trusted")
	require.NoError(t, p.Rotate())
	require.NoError(t, get(ctx0, c, "api://recovered/.default").Err)

	require.Len(t, s.Requests(), 4)
	for _, r := range s.Requests() {
		require.Equal(t, "login.microsoftonline.com", r.Host)
		require.Equal(t, "/"+s.TenantID()+"/oauth2/v2.0/token", r.Path)
	}
}

func TestTokenProxy_withoutOneTheWayIsStraight(t *testing.T) {
	f := &fakeEntra{}
	blankEnvironment(t)
	file := filepath.Join(t.TempDir(), "token")
	writeFile(t, file, "a.b.c")
	c, err := managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: f},
		TenantID: someTenant, ClientID: someClient, TokenFilePath: file, EnableAzureProxy: true})
	require.NoError(t, err)
	require.NoError(t, get(ctx0, c, vault).Err)
	require.Equal(t, 1, f.Count())
}

func TestTokenProxy_replacesTheTransport(t *testing.T) {
	o := managedid.WorkloadIdentityCredentialOptions{}
	o.Transport = transportFunc(func(*http.Request) (*http.Response, error) { panic("used") })
	_, _, c := newBound(t, o)
	require.NoError(t, get(ctx0, c, vault).Err)
}

func TestTokenProxy_sharesNothingWithEntra(t *testing.T) {
	cache := managedid.NewTokenCache(nil)
	s, _, bound := newBound(t, managedid.WorkloadIdentityCredentialOptions{Cache: cache})
	require.NoError(t, get(ctx0, bound, vault).Err)
	t.Setenv("AZURE_AUTHORITY_HOST", s.AuthorityHost)
	direct, err := managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: s.Client()}, Cache: cache})
	require.NoError(t, err)
	err = get(ctx0, direct, vault).Err
	require.Equal(t, managedid.ReasonRejectedCredential, asCredentialError(t, err))
	require.ErrorContains(t, err, "set EnableAzureProxy in the options of a WorkloadIdentityCredential")
	require.Len(t, s.Requests(), 2)
	s.Client().CloseIdleConnections()
}

func TestTokenProxy_theFileIsReplacedAsKubeletDoes(t *testing.T) {
	s, p, c := newBound(t, managedid.WorkloadIdentityCredentialOptions{})
	dir := t.TempDir()
	mount := func(version string) {
		require.NoError(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		require.NoError(t, os.Rename(p.CAFile, filepath.Join(dir, version, "ca.crt")))
		require.NoError(t, os.Symlink(version, filepath.Join(dir, "..tmp")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	}
	mount("..1")
	require.NoError(t, os.Symlink(filepath.Join("..data", "ca.crt"), filepath.Join(dir, "ca.crt")))
	err := get(ctx0, c, vault).Err
	require.Equal(t, managedid.ReasonNotReady, asCredentialError(t, err))
	require.ErrorContains(t, err, "the token proxy 127.0.0.1")
	require.ErrorContains(t, err, p.CAFile+", from AZURE_KUBERNETES_CA_FILE, can't be used: no such file or directory")
	t.Setenv("AZURE_KUBERNETES_CA_FILE", filepath.Join(dir, "ca.crt"))
	c, err = managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{EnableAzureProxy: true, Cache: managedid.NewTokenCache(nil)})
	require.NoError(t, err)
	require.NoError(t, get(ctx0, c, vault).Err)
	require.NoError(t, p.Rotate())
	mount("..2")
	require.NoError(t, get(ctx0, c, "api://second/.default").Err)
	require.Len(t, s.Requests(), 2)
}

// Whoever asks in the middle of a rotation may fail, but nobody hangs, and nobody is left with what was trusted before.
func TestTokenProxy_rotatesUnderLoad(t *testing.T) {
	_, p, c := newBound(t, managedid.WorkloadIdentityCredentialOptions{})
	log.SetOutput(io.Discard) // http.Server logs each failed handshake
	defer log.SetOutput(os.Stderr)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if err := get(ctx0, c, fmt.Sprintf("api://%d/.default", i)).Err; err != nil {
				require.Equal(t, managedid.ReasonNotReady, asCredentialError(t, err))
			}
		})
	}
	for range 10 {
		require.NoError(t, p.Rotate())
	}
	all.Wait()
	require.NoError(t, get(ctx0, c, vault).Err)
}
