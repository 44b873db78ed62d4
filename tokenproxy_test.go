package managedid

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// newBound makes a cluster's proxy, and a credential for a pod with an identity binding that is tried once.
func newBound(t *testing.T, o WorkloadIdentityCredentialOptions) (*managedidtest.Server, *managedidtest.TokenProxy, *WorkloadIdentityCredential) {
	t.Helper()
	checkGoroutines(t)
	s := managedidtest.NewServer(nil)
	t.Cleanup(s.Close)
	p, err := s.NewTokenProxy(t.TempDir())
	require.NoError(t, err)
	s.Setenv(t, managedidtest.IdentityBinding)
	t.Setenv("AZURE_AUTHORITY_HOST", "")
	o.EnableAzureProxy, o.Retry = true, noRetries.Retry
	c, err := NewWorkloadIdentityCredential(&o)
	require.NoError(t, err)
	return s, p, c
}

func TestVector20_theCAFileIsEmptiedThenNew(t *testing.T) {
	s, p, c := newBound(t, WorkloadIdentityCredentialOptions{})
	old, err := os.ReadFile(p.CAFile)
	require.NoError(t, err)
	require.NoError(t, get(ctx0, c, "api://first/.default").err)
	writeFile(t, p.CAFile, "\n")
	require.NoError(t, get(ctx0, c, "api://emptied/.default").err, "what was trusted is")
	require.NoError(t, p.Rotate())
	require.NoError(t, get(ctx0, c, "api://new/.default").err)
	writeFile(t, p.CAFile, string(old))
	err = get(ctx0, c, "api://old/.default").err
	require.Equal(t, ReasonNotReady, asCredentialError(t, err), "only what the file has is trusted")
	require.NoError(t, p.Rotate())
	require.NoError(t, get(ctx0, c, "api://recovered/.default").err)

	require.Len(t, s.Requests(), 4)
	for _, r := range s.Requests() {
		require.Equal(t, "login.microsoftonline.com", r.Host)
		require.Equal(t, "/"+s.TenantID()+"/oauth2/v2.0/token", r.Path)
	}
}

func TestVector21_pathsAreJoinedAndTheQueryStays(t *testing.T) {
	var seen *http.Request
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer srv.Close()
	blankEnvironment(t)
	t.Setenv(tokenProxySNI, "example.com") // one of the names of httptest's certificate
	t.Setenv(tokenProxyCAData, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	for _, row := range []struct{ proxy, path, want string }{
		{"", "/t/oauth2/v2.0/token", "/t/oauth2/v2.0/token"},
		{"/", "/t/oauth2/v2.0/token", "/t/oauth2/v2.0/token"},
		{"/base", "/t/oauth2/v2.0/token?a=1&b=%20c", "/base/t/oauth2/v2.0/token?a=1&b=%20c"},
		{"/base/", "/t/token", "/base/t/token"},
		{"/a%2Fb", "/c%2Fd?x", "/a%2Fb/c%2Fd?x"},
		{"/a%2F", "/t/token", "/a%2F/t/token"},
		{"", "/t%2Fu/token", "/t%2Fu/token"},
		{"/base", "", "/base"},
	} {
		t.Run(row.proxy+" "+row.path, func(t *testing.T) {
			t.Setenv(tokenProxyVariable, srv.URL+row.proxy)
			p, err := newTokenProxy()
			require.NoError(t, err)
			req, err := http.NewRequest(http.MethodPost, "https://login.microsoftonline.com"+row.path, nil)
			require.NoError(t, err)
			resp, err := p.Do(req)
			require.NoError(t, err)
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			require.Equal(t, http.StatusTemporaryRedirect, resp.StatusCode, "no redirect is followed")
			require.Equal(t, row.want, seen.RequestURI)
			require.Equal(t, "login.microsoftonline.com", seen.Host)
			require.Equal(t, "example.com", seen.TLS.ServerName)
			require.Equal(t, "https://login.microsoftonline.com"+row.path, req.URL.String(), "the request is the caller's")
		})
	}
}

func TestTokenProxy_configuration(t *testing.T) {
	blankEnvironment(t)
	dir := t.TempDir()
	file := func(name, content string) string {
		writeFile(t, filepath.Join(dir, name), content)
		return filepath.Join(dir, name)
	}
	assertion, ca := file("assertion", "a.b.c"), string(fixture(t, "ca.pem"))
	setenv(t, "AZURE_TENANT_ID="+someTenant, "AZURE_CLIENT_ID="+someClient, "AZURE_FEDERATED_TOKEN_FILE="+assertion)
	const proxy, notURL = tokenProxyVariable + "=https://kubernetes.default.svc", tokenProxyVariable + " is not an https URL without user, query and fragment"
	for _, row := range []struct {
		name        string
		environment []string
		problem     string
	}{
		{"none", nil, ""},
		{"address", []string{proxy}, ""},
		{"all", []string{proxy + "/base", tokenProxySNI + "=h.ests.aks", tokenProxyCAFile + "=" + file("ca", ca)}, ""},
		{"certificates", []string{proxy, tokenProxyCAData + "=" + ca}, ""},
		{"name without address", []string{tokenProxySNI + "=h.ests.aks"}, tokenProxyVariable + " is not set"},
		{"file without address", []string{tokenProxyCAFile + "=" + file("ca", ca)}, tokenProxyVariable + " is not set"},
		{"certificates without address", []string{tokenProxyCAData + "=" + ca}, tokenProxyVariable + " is not set"},
		{"file and certificates", []string{proxy, tokenProxyCAFile + "=" + file("ca", ca), tokenProxyCAData + "=" + ca}, "both set"},
		{"http", []string{tokenProxyVariable + "=http://kubernetes.default.svc"}, notURL},
		{"no host", []string{tokenProxyVariable + "=https:///x"}, notURL},
		{"user", []string{tokenProxyVariable + "=https://u:p@kubernetes.default.svc"}, notURL},
		{"query", []string{proxy + "?x"}, notURL},
		{"empty query", []string{proxy + "?"}, notURL},
		{"fragment", []string{proxy + "#x"}, notURL},
		{"no file", []string{proxy, tokenProxyCAFile + "=" + filepath.Join(dir, "none")}, "none, from " + tokenProxyCAFile + ", can't be used: no such file"},
		{"a directory", []string{proxy, tokenProxyCAFile + "=" + dir}, "not a regular file"},
		{"empty file", []string{proxy, tokenProxyCAFile + "=" + file("empty", "\n")}, "it is empty"},
		{"file without a certificate", []string{proxy, tokenProxyCAFile + "=" + file("text", "text")}, "it has no certificate in PEM"},
		{"no certificate", []string{proxy, tokenProxyCAData + "=text"}, tokenProxyCAData + " can't be used: it has no certificate in PEM"},
	} {
		t.Run(row.name, func(t *testing.T) {
			setenv(t, row.environment...)
			_, err := NewWorkloadIdentityCredential(nil)
			require.NoError(t, err, "without the option all of it is ignored")
			_, err = NewWorkloadIdentityCredential(&WorkloadIdentityCredentialOptions{EnableAzureProxy: true})
			if row.problem == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, row.problem)
			require.ErrorContains(t, err, nameWorkloadIdentity+": ")
		})
	}
}

func TestTokenProxy_withoutOneTheWayIsStraight(t *testing.T) {
	f := &fakeEntra{}
	blankEnvironment(t)
	file := filepath.Join(t.TempDir(), "token")
	writeFile(t, file, "a.b.c")
	c, err := NewWorkloadIdentityCredential(&WorkloadIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: f},
		TenantID: someTenant, ClientID: someClient, TokenFilePath: file, EnableAzureProxy: true})
	require.NoError(t, err)
	require.NoError(t, get(ctx0, c, vault).err)
	require.Equal(t, 1, f.count())
}

func TestTokenProxy_replacesTheTransport(t *testing.T) {
	o := WorkloadIdentityCredentialOptions{}
	o.Transport = transportFunc(func(*http.Request) (*http.Response, error) { panic("used") })
	_, _, c := newBound(t, o)
	require.NoError(t, get(ctx0, c, vault).err)
}

func TestTokenProxy_sharesNothingWithEntra(t *testing.T) {
	cache := NewTokenCache(nil)
	s, _, bound := newBound(t, WorkloadIdentityCredentialOptions{Cache: cache})
	require.NoError(t, get(ctx0, bound, vault).err)
	t.Setenv("AZURE_AUTHORITY_HOST", s.AuthorityHost)
	direct, err := NewWorkloadIdentityCredential(&WorkloadIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: s.Client()}, Cache: cache})
	require.NoError(t, err)
	err = get(ctx0, direct, vault).err
	require.Equal(t, ReasonRejectedCredential, asCredentialError(t, err))
	require.ErrorContains(t, err, "set EnableAzureProxy in the options of a WorkloadIdentityCredential")
	require.Len(t, s.Requests(), 2)
	s.Client().CloseIdleConnections()
}

func TestTokenProxy_theFileIsReplacedAsKubeletDoes(t *testing.T) {
	s, p, c := newBound(t, WorkloadIdentityCredentialOptions{})
	dir := t.TempDir()
	mount := func(version string) {
		require.NoError(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		require.NoError(t, os.Rename(p.CAFile, filepath.Join(dir, version, "ca.crt")))
		require.NoError(t, os.Symlink(version, filepath.Join(dir, "..tmp")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	}
	mount("..1")
	require.NoError(t, os.Symlink(filepath.Join("..data", "ca.crt"), filepath.Join(dir, "ca.crt")))
	err := get(ctx0, c, vault).err
	require.Equal(t, ReasonNotReady, asCredentialError(t, err))
	require.ErrorContains(t, err, "the token proxy 127.0.0.1")
	require.ErrorContains(t, err, p.CAFile+", from AZURE_KUBERNETES_CA_FILE, can't be used: no such file or directory")
	t.Setenv(tokenProxyCAFile, filepath.Join(dir, "ca.crt"))
	c, err = NewWorkloadIdentityCredential(&WorkloadIdentityCredentialOptions{EnableAzureProxy: true, Cache: NewTokenCache(nil)})
	require.NoError(t, err)
	require.NoError(t, get(ctx0, c, vault).err)
	require.NoError(t, p.Rotate())
	mount("..2")
	require.NoError(t, get(ctx0, c, "api://second/.default").err)
	require.Len(t, s.Requests(), 2)
}

// Whoever asks in the middle of a rotation may fail, but nobody hangs, and nobody is left with what was trusted before.
func TestTokenProxy_rotatesUnderLoad(t *testing.T) {
	_, p, c := newBound(t, WorkloadIdentityCredentialOptions{})
	log.SetOutput(io.Discard) // http.Server logs each failed handshake
	defer log.SetOutput(os.Stderr)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if err := get(ctx0, c, fmt.Sprintf("api://%d/.default", i)).err; err != nil {
				require.Equal(t, ReasonNotReady, asCredentialError(t, err))
			}
		})
	}
	for range 10 {
		require.NoError(t, p.Rotate())
	}
	all.Wait()
	require.NoError(t, get(ctx0, c, vault).err)
}
