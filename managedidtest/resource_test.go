package managedidtest

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// call sends a request to a resource. An empty authorization means no Authorization header.
func call(t *testing.T, srv *Server, url, authorization string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(t, err)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	return send(t, srv.Client(), req)
}

func TestResource_showsTheClaims(t *testing.T) {
	srv := newServer(t, &Options{UserAssigned: make([]Identity, 1)})
	id := srv.UserAssigned()[0]
	api := srv.NewResource(vault, nil)
	require.Regexp(t, "^https://127", api.URL)
	token := getToken(t, srv.Emulator, IMDS, "client_id="+id.ClientID)["access_token"]
	for _, scheme := range []string{"Bearer ", "bearer "} {
		code, _, body := call(t, srv, api.URL, scheme+token)
		require.Equal(t, 200, code)
		require.JSONEq(t, `{"aud":"`+vault+`","appid":"`+id.ClientID+`","oid":"`+id.ObjectID+`"}`, body)
	}
	keys := 0
	for _, r := range srv.Requests() {
		if r.Endpoint == Keys {
			keys++
		}
	}
	require.Equal(t, 1, keys, "they are fetched over HTTP, once")
}

func TestResource_handsOn(t *testing.T) {
	srv := newServer(t, nil)
	api := srv.NewResource(vault, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello "+r.URL.Path)
	}))
	code, _, body := call(t, srv, api.URL+"/x", "Bearer "+getToken(t, srv.Emulator, IMDS)["access_token"])
	require.Equal(t, 200, code)
	require.Equal(t, "hello /x", body)
}

func TestResource_refuses(t *testing.T) {
	srv := newServer(t, &Options{TenantID: "T"})
	foreign := getToken(t, New(&Options{TenantID: "U"}), IMDS)["access_token"]
	expired := getToken(t, New(&Options{TenantID: "T", TokenLifetime: -1}), IMDS)["access_token"]
	good := getToken(t, srv.Emulator, IMDS)["access_token"]
	other := getToken(t, srv.Emulator, IMDS, "resource=https://storage.azure.com")["access_token"]
	const challenge = `Bearer authorization="https://login.microsoftonline.com/T", resource="https://vault.azure.net"`
	tests := []struct{ name, authorization, challenge, message string }{
		{"nothing", "", challenge, "no bearer token"},
		{"another scheme", "Basic " + good, challenge, "no bearer token"},
		{"no scheme", good, challenge, "no bearer token"},
		{"no token", "Bearer x", challenge + `, error="invalid_token"`, "managedidtest: the token is no JWT"},
		{"another resource's", "Bearer " + other, challenge + `, error="invalid_token"`,
			"managedidtest: the token is for another audience"},
		{"another tenant's", "Bearer " + foreign, challenge + `, error="invalid_token"`,
			"managedidtest: the token is from another tenant"},
		{"an old one", "Bearer " + expired, challenge + `, error="invalid_token"`,
			"managedidtest: the token has expired"},
	}
	api := srv.NewResource(vault, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("handed on") }))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, header, body := call(t, srv, api.URL, tt.authorization)
			require.Equal(t, http.StatusUnauthorized, code)
			require.Equal(t, tt.challenge, header.Get("WWW-Authenticate"))
			var e struct {
				Error struct{ Code, Message string }
			}
			require.NoError(t, json.Unmarshal([]byte(body), &e))
			require.Equal(t, tt.message, e.Error.Message)
		})
	}
}

func TestResource_needsTheKeysOnce(t *testing.T) {
	srv := newServer(t, nil)
	api := srv.NewResource(vault, nil)
	token := "Bearer " + getToken(t, srv.Emulator, IMDS)["access_token"]
	srv.Inject(Fault{Endpoint: Keys, Count: 1, Status: 500})
	code, header, _ := call(t, srv, api.URL, token)
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Empty(t, header.Get("WWW-Authenticate"))
	code, _, _ = call(t, srv, api.URL, token)
	require.Equal(t, 200, code)
	srv.Inject(Fault{Refused: true})
	code, _, _ = call(t, srv, api.URL, token)
	require.Equal(t, 200, code, "an API does not need the token endpoint")
}

func TestServer_clientTrustsOnlyItsAuthority(t *testing.T) {
	srv, other := newServer(t, nil), newServer(t, nil)
	certificate := other.NewResource(vault, nil).Certificate()
	trusts := func(c *http.Client) bool {
		_, err := certificate.Verify(x509.VerifyOptions{
			DNSName: "127.0.0.1", Roots: c.Transport.(*http.Transport).TLSClientConfig.RootCAs,
		})
		return err == nil
	}
	require.True(t, trusts(other.Client()))
	require.False(t, trusts(srv.Client()))
}

func TestResource_withoutSockets(t *testing.T) {
	e := New(nil)
	token := getToken(t, e, IMDS)["access_token"]
	api := e.Resource(vault, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		io.WriteString(w, r.URL.String()+" "+string(body))
	}))
	request := func(authorization string, body io.Reader) *http.Request {
		req, err := http.NewRequest(http.MethodPost, "https://anything.example/x", body)
		require.NoError(t, err)
		req.Header.Set("Authorization", authorization)
		return req
	}
	for _, body := range []io.Reader{nil, strings.NewReader("a body")} {
		req := request("Bearer "+token, body)
		resp, err := (&http.Client{Transport: api}).Do(req)
		require.NoError(t, err)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		require.Same(t, req, resp.Request)
		require.Equal(t, "https://anything.example/x "+map[bool]string{true: "", false: "a body"}[body == nil],
			string(got))
	}
	code, header, _ := send(t, api, request("Bearer x", nil))
	require.Equal(t, 401, code)
	require.Contains(t, header.Get("WWW-Authenticate"), `error="invalid_token"`)
	e.RevokeTokens()
	code, _, _ = send(t, api, request("Bearer "+token, nil))
	require.Equal(t, 401, code)
	require.Empty(t, e.Requests()[1:], "the keys are at hand")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := api.Do(request("Bearer "+token, nil).WithContext(ctx))
	require.ErrorIs(t, err, context.Canceled)
}
