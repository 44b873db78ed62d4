package managedidtest

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// podClient returns a client that trusts the pod's authority and sends the pod's server name.
func podClient(t *testing.T, env map[string]string) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(env["AZURE_KUBERNETES_CA_FILE"])
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(ca))
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots,
		ServerName: env["AZURE_KUBERNETES_SNI_NAME"]}}}
}

// exchangeAt makes a token request with the assertion in the file, for Entra's path at the address.
func exchangeAt(t *testing.T, env map[string]string, address, file string) *http.Request {
	t.Helper()
	assertion, err := os.ReadFile(file)
	require.NoError(t, err)
	req, err := http.NewRequest(http.MethodPost, strings.TrimSuffix(address, "/")+"/"+env["AZURE_TENANT_ID"]+"/"+
		tokenPath, strings.NewReader(url.Values{
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
	foreign, err := New(nil).NewTokenFile(t.TempDir(), &TokenFileOptions{Issuer: "https://other.example",
		Audience: bindingAudience})
	require.NoError(t, err)
	for _, row := range []struct {
		name, address, file string
		client              *http.Client
		status              int
		problem             string
	}{
		{"the pod's", env["AZURE_KUBERNETES_TOKEN_PROXY"], env["AZURE_FEDERATED_TOKEN_FILE"], podClient(t, env), 200,
			""},
		{"the pod's, straight to Entra", srv.AuthorityHost, env["AZURE_FEDERATED_TOKEN_FILE"], srv.Client(), 401,
			"AADSTS700212"},
		{"the usual one", env["AZURE_KUBERNETES_TOKEN_PROXY"], usual, podClient(t, env), 401, "AADSTS700212"},
		{"the usual one, straight to Entra", srv.AuthorityHost, usual, srv.Client(), 200, ""},
		{"another cluster's", env["AZURE_KUBERNETES_TOKEN_PROXY"], foreign.Path, podClient(t, env), 401,
			"AADSTS700211"},
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
	require.PanicsWithValue(t, "managedidtest: an IdentityBinding takes a Server, since its clients use a "+
		"transport of their own", func() {
		New(nil).Setenv(t, IdentityBinding)
	})
}

func TestTokenProxy_takesAnyPrefixAndKnowsTheTenant(t *testing.T) {
	srv := newServer(t, nil)
	srv.Setenv(t, IdentityBinding)
	env := srv.Environ(IdentityBinding)
	client, token := podClient(t, env), "/"+srv.TenantID()+"/"+tokenPath
	for _, row := range []struct {
		name, method, path string
		endpoint           Endpoint
		status             int
	}{
		{"no prefix", http.MethodPost, token, Entra, 200},
		{"prefix", http.MethodPost, "/base" + token, Entra, 200},
		{"longer prefix", http.MethodPost, "/a/b%2Fc" + token, Entra, 200},
		{"the root", http.MethodPost, "/", Entra, 200},
		{"discovery", http.MethodGet, "/base/" + srv.TenantID() + "/" + openIDPath, Discovery, 200},
		{"another tenant", http.MethodPost, "/base/other/" + tokenPath, Entra, 400},
		{"something else", http.MethodPost, "/base/token", "", 404},
		{"nothing", http.MethodGet, "/", "", 404},
	} {
		t.Run(row.name, func(t *testing.T) {
			req := exchangeAt(t, env, env["AZURE_KUBERNETES_TOKEN_PROXY"], env["AZURE_FEDERATED_TOKEN_FILE"])
			u, err := url.Parse(env["AZURE_KUBERNETES_TOKEN_PROXY"] + row.path)
			require.NoError(t, err)
			req.Method, req.URL, req.Host = row.method, u, "login.microsoftonline.com"
			code, _, _ := send(t, client, req)
			require.Equal(t, row.status, code)
			log := srv.Requests()
			last := log[len(log)-1]
			require.Equal(t, row.endpoint, last.Endpoint)
			require.Equal(t, u.Path, last.Path, "as it came")
			require.Equal(t, "login.microsoftonline.com", last.Host)
		})
	}
	req := exchangeAt(t, env, srv.AuthorityHost+"base", env["AZURE_FEDERATED_TOKEN_FILE"])
	code, _, _ := send(t, srv.Client(), req)
	require.Equal(t, 404, code, "Entra itself has no prefix")
}

func TestTokenProxy_hasEntrasFaults(t *testing.T) {
	srv := newServer(t, nil)
	srv.Setenv(t, IdentityBinding)
	env := srv.Environ(IdentityBinding)
	client := podClient(t, env)
	ask := func() *http.Request {
		return exchangeAt(t, env, env["AZURE_KUBERNETES_TOKEN_PROXY"], env["AZURE_FEDERATED_TOKEN_FILE"])
	}
	srv.Inject(Fault{Endpoint: Entra, Status: 503, Count: 1})
	code, _, _ := send(t, client, ask())
	require.Equal(t, 503, code)
	srv.Inject(Fault{Endpoint: Entra, Refused: true})
	_, err := client.Do(ask())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	srv.ClearFaults()
	code, _, _ = send(t, client, ask())
	require.Equal(t, 200, code)
}
