package managedid

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/testkit"
)

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
	assertion, ca := file("assertion", "a.b.c"), string(testkit.Fixture(t, "ca.pem"))
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

func TestTokenProxy_whatNamesItInACache(t *testing.T) {
	blankEnvironment(t)
	ca, seen := string(testkit.Fixture(t, "ca.pem")), map[string]string{}
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
			require.Empty(t, seen[p.key])
			seen[p.key] = row.name
			require.NotContains(t, p.key, "CERTIFICATE")
		})
	}
	t.Setenv(tokenProxyVariable, "https://a/")
	p, err := newTokenProxy()
	require.NoError(t, err)
	require.Equal(t, "address", seen[p.key], "an empty path is /")
}
