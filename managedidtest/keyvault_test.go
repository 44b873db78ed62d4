package managedidtest

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ask sends a request to a vault, and returns the status and the JSON body of the answer.
func ask(t *testing.T, via doer, token, method, url, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	code, header, answer := send(t, via, req)
	require.Equal(t, "application/json; charset=utf-8", header.Get("Content-Type"))
	fields := map[string]any{}
	require.NoError(t, json.Unmarshal([]byte(answer), &fields))
	return code, fields
}

func TestKeyVault_getsAndSets(t *testing.T) {
	srv := newServer(t, nil)
	url := srv.NewKeyVault(map[string]string{"Password": "<first>"}).URL
	token := getToken(t, srv.Emulator, IMDS)["access_token"]
	const version = "?api-version=2026-04-01"

	code, first := ask(t, srv.Client(), token, "GET", url+"/secrets/password/"+version, "")
	require.Equal(t, 200, code)
	require.True(t, first["value"] == "<first>")
	require.Regexp(t, "^"+url+"/secrets/password/[0-9a-f]{32}$", first["id"])
	attributes := first["attributes"].(map[string]any)
	require.Equal(t, []any{true, "Recoverable+Purgeable", 90.0},
		[]any{attributes["enabled"], attributes["recoveryLevel"], attributes["recoverableDays"]})
	require.NotZero(t, attributes["created"])

	code, second := ask(t, srv.Client(), token, "PUT", url+"/secrets/PASSWORD"+version,
		`{"value":"","contentType":"text/plain","tags":{"a":"b"},"attributes":{"exp":2000000000}}`)
	require.Equal(t, 200, code)
	require.NotEqual(t, first["id"], second["id"])
	code, latest := ask(t, srv.Client(), token, "GET", url+"/secrets/PASSWORD"+version, "")
	require.Equal(t, 200, code)
	require.Equal(t, second, latest)
	require.True(t, latest["value"] == "")
	require.Equal(t, []any{"text/plain", "b", 2e9}, []any{latest["contentType"], latest["tags"].(map[string]any)["a"],
		latest["attributes"].(map[string]any)["exp"]})
	code, old := ask(t, srv.Client(), token, "GET", first["id"].(string)+version, "")
	require.Equal(t, 200, code)
	require.Equal(t, first, old)
}

func TestKeyVault_refuses(t *testing.T) {
	e := New(nil)
	vault := e.KeyVault(map[string]string{"there": "x"})
	good := getToken(t, e, IMDS)["access_token"]
	code, _ := ask(t, vault, good, "PUT", "https://v/secrets/off?api-version=1",
		`{"value":"x","attributes":{"enabled":false}}`)
	require.Equal(t, 200, code)
	for _, tt := range []struct {
		name, token, method, path, body string
		status                          int
		code                            string
	}{
		{"another audience", getToken(t, e, IMDS, "resource=https://storage.azure.com")["access_token"], "GET",
			"/secrets/there", "", 401, "Unauthorized"},
		{"the vault's own address", getToken(t, e, IMDS, "resource=https://v.vault.azure.net")["access_token"], "GET",
			"/secrets/there", "", 401, "Unauthorized"},
		{"expired", getToken(t, New(&Options{TokenLifetime: -1}), IMDS)["access_token"], "GET", "/secrets/there", "",
			401, "Unauthorized"},
		{"no such secret", good, "GET", "/secrets/none", "", 404, "SecretNotFound"},
		{"no such version", good, "GET", "/secrets/there/00000000000000000000000000000000", "", 404, "SecretNotFound"},
		{"disabled", good, "GET", "/secrets/off", "", 403, "Forbidden"},
		{"name", good, "GET", "/secrets/a_b", "", 400, "BadParameter"},
		{"no value", good, "PUT", "/secrets/there", "{}", 400, "BadParameter"},
		{"no JSON", good, "PUT", "/secrets/there", "x", 400, "BadParameter"},
		{"a version is set", good, "PUT", "/secrets/there/1", `{"value":"x"}`, 405, "MethodNotAllowed"},
		{"deletion", good, "DELETE", "/secrets/there", "", 405, "MethodNotAllowed"},
		{"keys", good, "GET", "/keys/there", "", 404, "NotFound"},
		{"the list", good, "GET", "/secrets", "", 404, "NotFound"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, answer := ask(t, vault, tt.token, tt.method, "https://v"+tt.path+"?api-version=1", tt.body)
			require.Equal(t, tt.status, code)
			require.Equal(t, tt.code, answer["error"].(map[string]any)["code"])
		})
	}
	code, answer := ask(t, vault, good, "GET", "https://v/secrets/there", "")
	require.Equal(t, 400, code)
	require.Equal(t, "BadParameter", answer["error"].(map[string]any)["code"], "without api-version")
	require.Panics(t, func() { e.KeyVault(map[string]string{"a_b": "x"}) })
}

func TestResource_certificateNames(t *testing.T) {
	srv := newServer(t, nil)
	for audience, want := range map[string]string{
		vaultAudience:              "lab-vault.vault.azure.net",
		"https://orders.example/x": "orders.example",
		"api://orders":             "localhost",
		"https://ö":                "localhost",
	} {
		require.NoError(t, srv.NewResource(audience, nil).Certificate().VerifyHostname(want))
	}
	require.NoError(t, srv.NewKeyVault(nil).Certificate().VerifyHostname("127.0.0.1"))
	require.Error(t, srv.NewKeyVault(nil).Certificate().VerifyHostname("login.microsoftonline.com"))
}

func TestRemoveIdentity(t *testing.T) {
	e := New(&Options{UserAssigned: make([]Identity, 2)})
	system, users := e.SystemAssigned(), e.UserAssigned()
	token := getToken(t, e, IMDS)["access_token"]
	get := func(query ...string) (int, string) {
		code, _, body := send(t, e, newGet(t, e, IMDS, query...))
		return code, body
	}
	e.RemoveIdentity(strings.ToUpper(users[0].ClientID))
	code, body := get("client_id=" + users[0].ClientID)
	require.Equal(t, 400, code)
	require.Contains(t, body, "Identity not found")
	require.Equal(t, users[1:], e.UserAssigned())
	code, _ = get("client_id=" + users[1].ClientID)
	require.Equal(t, 200, code)

	e.RemoveIdentity(system.ClientID)
	require.Zero(t, e.SystemAssigned())
	code, body = get()
	require.Equal(t, 200, code)
	require.Contains(t, body, users[1].ClientID, "the only one is the default")
	e.RemoveIdentity(users[1].ClientID)
	for _, from := range []Endpoint{IMDS, AppService, Arc, AzureML} {
		code, _, _ := send(t, e, newGet(t, e, from))
		require.GreaterOrEqual(t, code, 400, from)
	}
	code, _, _ = send(t, e.Resource(vault, nil), authorized(t, token))
	require.Equal(t, 200, code, "its token is good until it expires")
	require.Panics(t, func() { e.RemoveIdentity(system.ClientID) })
}

func authorized(t *testing.T, token string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "https://v", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	return req
}
