package managedidtest

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// podClient trusts the pod's authority and asks for the pod's server name.
func podClient(t *testing.T, env map[string]string) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(env["AZURE_KUBERNETES_CA_FILE"])
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(ca))
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: env["AZURE_KUBERNETES_SNI_NAME"]}}}
}

// exchangeAt sends the assertion in the file to Entra's path at the address.
func exchangeAt(t *testing.T, env map[string]string, address, file string) *http.Request {
	t.Helper()
	assertion, err := os.ReadFile(file)
	require.NoError(t, err)
	req, err := http.NewRequest(http.MethodPost, strings.TrimSuffix(address, "/")+"/"+env["AZURE_TENANT_ID"]+"/"+tokenPath, strings.NewReader(url.Values{
		"grant_type": {clientCredentials}, "client_id": {env["AZURE_CLIENT_ID"]}, "scope": {vault + "/.default"},
		"client_assertion_type": {jwtBearer}, "client_assertion": {string(assertion)},
	}.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req
}

func TestTokenProxy_takesThePodsTokensAlone(t *testing.T) {
	srv := newServer(t, nil)
	srv.Setenv(t, Workload)
	usual := os.Getenv("AZURE_FEDERATED_TOKEN_FILE")
	srv.Setenv(t, IdentityBinding)
	env := srv.Environ(IdentityBinding)
	require.Equal(t, env["AZURE_KUBERNETES_TOKEN_PROXY"], os.Getenv("AZURE_KUBERNETES_TOKEN_PROXY"))
	foreign, err := New(nil).NewTokenFile(t.TempDir(), &TokenFileOptions{Issuer: "https://other.example", Audience: bindingAudience})
	require.NoError(t, err)
	for _, row := range []struct {
		name, address, file string
		client              *http.Client
		status              int
		problem             string
	}{
		{"the pod's", env["AZURE_KUBERNETES_TOKEN_PROXY"], env["AZURE_FEDERATED_TOKEN_FILE"], podClient(t, env), 200, ""},
		{"the pod's, straight to Entra", srv.AuthorityHost, env["AZURE_FEDERATED_TOKEN_FILE"], srv.Client(), 401, "AADSTS700212"},
		{"the usual one", env["AZURE_KUBERNETES_TOKEN_PROXY"], usual, podClient(t, env), 401, "AADSTS700212"},
		{"the usual one, straight to Entra", srv.AuthorityHost, usual, srv.Client(), 200, ""},
		{"another cluster's", env["AZURE_KUBERNETES_TOKEN_PROXY"], foreign.Path, podClient(t, env), 401, "AADSTS700211"},
	} {
		t.Run(row.name, func(t *testing.T) {
			req := exchangeAt(t, env, row.address, row.file)
			req.Host = "login.microsoftonline.com"
			code, _, body := send(t, row.client, req)
			require.Equal(t, row.status, code)
			require.Contains(t, body, row.problem)
			log := srv.Requests()
			require.Equal(t, Entra, log[len(log)-1].Endpoint)
			require.Equal(t, "login.microsoftonline.com", log[len(log)-1].Host)
		})
	}
}

func TestTokenProxy_hasANameAndAnAuthorityOfItsOwn(t *testing.T) {
	srv := newServer(t, nil)
	p, err := srv.NewTokenProxy(t.TempDir())
	require.NoError(t, err)
	env := srv.Environ(IdentityBinding)
	get := func(client *http.Client) error {
		resp, err := client.Get(p.URL)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	old := podClient(t, env)
	require.NoError(t, get(old))
	require.Error(t, get(srv.Client()), "another authority, and no server name")
	env["AZURE_KUBERNETES_SNI_NAME"] = "other.ests.aks"
	require.ErrorContains(t, get(podClient(t, env)), "internal error")
	require.NoError(t, p.Rotate())
	require.Error(t, get(old))
	require.NoError(t, get(podClient(t, srv.Environ(IdentityBinding))))
	srv.Close()
	_, err = srv.NewTokenProxy(t.TempDir())
	require.ErrorContains(t, err, "closed")
}

func TestTokenProxy_takesAServer(t *testing.T) {
	require.PanicsWithValue(t, "managedidtest: an IdentityBinding takes a Server, since its clients use a transport of their own", func() {
		New(nil).Setenv(t, IdentityBinding)
	})
}
