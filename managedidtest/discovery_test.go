package managedidtest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// document gets one of Entra's documents.
func document(t *testing.T, via doer, target string, v any) (int, http.Header) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, target, nil)
	require.NoError(t, err)
	code, header, body := send(t, via, req)
	require.NoError(t, json.Unmarshal([]byte(body), v))
	return code, header
}

func TestDiscovery_hasTheOpenIDDocument(t *testing.T) {
	srv := newServer(t, &Options{OtherTenants: []string{"Other"}})
	for _, tt := range []struct{ given, tenant, issuer string }{
		{strings.ToUpper(srv.TenantID()), srv.TenantID(), srv.TenantID()},
		{"other", "Other", "Other"},
		{"Common", "common", "{tenantid}"},
		{"organizations", "organizations", "{tenantid}"},
	} {
		var d openID
		code, header := document(t, srv.Client(),
			srv.AuthorityHost+tt.given+"/v2.0/.well-known/openid-configuration", &d)
		require.Equal(t, 200, code)
		require.Equal(t, "max-age=86400, private", header.Get("Cache-Control"))
		require.Equal(t, srv.AuthorityHost+tt.tenant+"/oauth2/v2.0/token", d.TokenEndpoint)
		require.Equal(t, srv.AuthorityHost+tt.tenant+"/oauth2/v2.0/authorize", d.Authorization)
		require.Equal(t, srv.AuthorityHost+tt.issuer+"/v2.0", d.Issuer)
	}
}

func TestDiscovery_hasTheKeys(t *testing.T) {
	srv := newServer(t, nil)
	token := requestToken(t, srv.Emulator)
	for _, tenant := range []string{srv.TenantID(), "common"} {
		var d openID
		document(t, srv.Client(), srv.AuthorityHost+tenant+"/v2.0/.well-known/openid-configuration", &d)
		require.Equal(t, srv.AuthorityHost+tenant+"/discovery/v2.0/keys", d.Keys)
		_, err := VerifyToken(t.Context(), srv.Client(), d.Keys, token, vault)
		require.NoError(t, err)
	}
}

func TestDiscovery_vouchesForEveryAuthority(t *testing.T) {
	public := cloud{"login.microsoftonline.com", "login.windows.net",
		[]string{"login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"}}
	for host, want := range map[string][]cloud{
		"login.microsoftonline.com": {public},
		"sts.windows.net":           {public},
		"127.0.0.1:1234":            {public, {"127.0.0.1:1234", "127.0.0.1:1234", []string{"127.0.0.1:1234"}}},
	} {
		e := New(nil)
		q := url.Values{"api-version": {"1.1"}, "authorization_endpoint": {"https://" + host +
			"/T/oauth2/v2.0/authorize"}}
		var d instanceDocument
		code, _ := document(t, e, e.AuthorityHost+"common/discovery/instance?"+q.Encode(), &d)
		require.Equal(t, 200, code)
		discovery := "https://" + host + "/T/v2.0/.well-known/openid-configuration"
		require.Equal(t, instanceDocument{discovery, "1.1", want}, d)
		require.Equal(t, Discovery, e.Requests()[0].Endpoint)
	}
}

func TestDiscovery_refuses(t *testing.T) {
	const unknown = "9a6bb3a7-ab9b-4a4b-8b8f-000000000000"
	tests := []struct {
		path  string
		code  int
		error string
	}{
		{unknown + "/v2.0/.well-known/openid-configuration", 90002, "invalid_tenant"},
		{unknown + "/discovery/v2.0/keys", 90002, "invalid_tenant"},
		{"x/v2.0/.well-known/openid-configuration", 900023, "invalid_tenant"},
		{"common/discovery/instance", 900144, "invalid_request"},
		{"common/discovery/instance?authorization_endpoint=http://a/b", 50049, "invalid_instance"},
		{"common/discovery/instance?authorization_endpoint=https:b", 50049, "invalid_instance"},
		{"common/discovery/instance?authorization_endpoint=%25", 50049, "invalid_instance"},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			e := New(nil)
			var p entraError
			code, header := document(t, e, e.AuthorityHost+tt.path, &p)
			require.Equal(t, 400, code)
			require.Equal(t, []int{tt.code}, p.Codes)
			require.Equal(t, tt.error, p.Error)
			require.Equal(t, "max-age=86400, private", header.Get("Cache-Control"))
		})
	}
	e := New(nil)
	code, header, body := send(t, e, newPost(t, e.AuthorityHost+"common/discovery/instance", nil))
	require.Equal(t, 405, code)
	require.Equal(t, "GET", header.Get("Allow"))
	require.Empty(t, body)
}
