package managedidtest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const vault = "https://vault.azure.net"

// newServer starts a server. The test fails if it leaves a goroutine behind.
func newServer(t *testing.T, o *Options) *Server {
	t.Helper()
	before := runtime.NumGoroutine()
	srv := NewServer(o)
	t.Cleanup(func() {
		srv.Close()
		for i := 0; runtime.NumGoroutine() > before; i++ {
			if i == 1_000_000 {
				stacks := make([]byte, 1<<20)
				t.Fatalf("goroutines left:\n%s", stacks[:runtime.Stack(stacks, true)])
			}
			runtime.Gosched()
		}
	})
	return srv
}

// newGet makes a valid request to an endpoint. query has changes of the form "name=value". A name without "=" removes
// the parameter.
func newGet(t *testing.T, e *Emulator, to Endpoint, query ...string) *http.Request {
	t.Helper()
	paths := map[Endpoint]string{IMDS: imdsPath, AppService: appServicePath, AppService2017: appServicePath,
		Arc: arcRoot + "/" + imdsPath, AzureML: azureMLPath, Keys: keysPath}
	req, err := http.NewRequest(http.MethodGet, e.URL+"/"+paths[to], nil)
	require.NoError(t, err)
	q := url.Values{}
	switch to {
	case IMDS:
		q.Set("api-version", "2018-02-01")
		req.Header.Set("Metadata", "true")
	case Arc:
		q.Set("api-version", "2020-06-01")
		req.Header.Set("Metadata", "true")
	case AppService:
		q.Set("api-version", "2019-08-01")
		req.Header.Set("X-IDENTITY-HEADER", e.Environ(AppService)["IDENTITY_HEADER"])
	case AppService2017, AzureML:
		q.Set("api-version", "2017-09-01")
		req.Header.Set("secret", e.Environ(AzureML)["MSI_SECRET"])
	}
	if to != Keys {
		q.Set("resource", vault)
	}
	for _, p := range query {
		name, value, found := strings.Cut(p, "=")
		if q.Del(name); found {
			q.Set(name, value)
		}
	}
	req.URL.RawQuery = q.Encode()
	return req
}

// doer is an Emulator or an http.Client.
type doer interface {
	Do(*http.Request) (*http.Response, error)
}

// send sends the request and returns the status, the headers and the body of the answer.
func send(t *testing.T, via doer, req *http.Request) (int, http.Header, string) {
	t.Helper()
	resp, err := via.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header, string(body)
}

// getToken requests a token, which must succeed, and returns the fields of the answer.
func getToken(t *testing.T, e *Emulator, from Endpoint, query ...string) map[string]string {
	t.Helper()
	status, _, body := send(t, e, newGet(t, e, from, query...))
	require.Equal(t, http.StatusOK, status, body)
	var fields map[string]string
	require.NoError(t, json.Unmarshal([]byte(body), &fields))
	return fields
}

// status sends a valid request to IMDS and returns the status of the answer.
func status(t *testing.T, e *Emulator) int {
	t.Helper()
	status, _, _ := send(t, e, newGet(t, e, IMDS))
	return status
}

// newExchange makes a valid request to Entra with the secret of the first application. form has changes of the form
// "name=value". A name without "=" removes the parameter.
func newExchange(t *testing.T, e *Emulator, form ...string) *http.Request {
	t.Helper()
	app := e.Applications()[0]
	f := url.Values{"grant_type": {"client_credentials"}, "client_id": {app.ClientID}, "scope": {vault + "/.default"}}
	if len(app.Secrets) > 0 {
		f.Set("client_secret", app.Secrets[0].Value)
	}
	for _, p := range form {
		name, value, found := strings.Cut(p, "=")
		if f.Del(name); found {
			f.Set(name, value)
		}
	}
	return newPost(t, e.AuthorityHost+e.TenantID()+"/oauth2/v2.0/token", f)
}

func newPost(t *testing.T, target string, form url.Values) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, target, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	return req
}

// withAssertion returns the changes for newExchange that replace the secret by an assertion.
func withAssertion(raw string) []string {
	return []string{"client_secret", "client_assertion_type=" + jwtBearer, "client_assertion=" + raw}
}

// newTokenFile makes a token file in a new directory.
func newTokenFile(t *testing.T, e *Emulator, o *TokenFileOptions) *TokenFile {
	t.Helper()
	f, err := e.NewTokenFile(t.TempDir(), o)
	require.NoError(t, err)
	return f
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(b)
}

// requestToken sends a request to Entra, which must succeed, and returns the token.
func requestToken(t *testing.T, e *Emulator, form ...string) string {
	t.Helper()
	return tokenIn(t, e, newExchange(t, e, form...))
}

func tokenIn(t *testing.T, via doer, req *http.Request) string {
	t.Helper()
	code, _, body := send(t, via, req)
	require.Equal(t, 200, code)
	var a entraToken
	require.NoError(t, json.Unmarshal([]byte(body), &a))
	return a.AccessToken
}

// refused sends a request that Entra must reject, and returns its error and the status of the answer.
func refused(t *testing.T, e *Emulator, req *http.Request) (entraError, int) {
	t.Helper()
	code, header, body := send(t, e, req)
	require.Greater(t, code, 399)
	var p entraError
	require.NoError(t, json.Unmarshal([]byte(body), &p))
	require.Equal(t, header.Get("X-Ms-Request-Id"), p.TraceID)
	return p, code
}
