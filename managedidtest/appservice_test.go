package managedidtest

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	unable     = "Unable to load the proper Managed Identity."
	severalIDs = "A query parameter was specified more than once, or several identities were."
)

var appServiceRefusals = []struct {
	name    string
	query   []string
	change  func(*http.Request)
	status  int
	message string
}{
	{"another method", nil, func(r *http.Request) { r.Method = http.MethodPost }, 405, ""},
	{"no secret", nil, func(r *http.Request) { r.Header.Del("X-IDENTITY-HEADER") }, 403, ""},
	{"a wrong secret", []string{"api-version"}, func(r *http.Request) { r.Header.Set("X-IDENTITY-HEADER", "x") }, 403,
		""},
	{"no api-version", []string{"api-version"}, nil, 400, "The api-version is not supported."},
	{"another api-version", []string{"api-version=2018-02-01"}, nil, 400, "The api-version is not supported."},
	{"a malformed query", nil, func(r *http.Request) { r.URL.RawQuery += "&x=%zz" }, 400, "The query is malformed."},
	{"two selectors", []string{"client_id=a", "principal_id=b"}, nil, 400, severalIDs},
	{"a parameter twice", nil, func(r *http.Request) { r.URL.RawQuery += "&resource=x" }, 400, severalIDs},
	{"no resource", []string{"resource"}, nil, 400, "The resource is missing."},
	{"an unknown client ID", []string{"client_id=x"}, nil, 400, unable},
	{"an unknown principal ID", []string{"principal_id=x"}, nil, 400, unable},
	{"an unknown object ID", []string{"object_id=x"}, nil, 400, unable},
	{"an unknown resource ID", []string{"mi_res_id=x"}, nil, 400, unable},
	{"no system-assigned identity", nil, nil, 400, unable},
}

func TestAppService_refuses(t *testing.T) {
	for _, tt := range appServiceRefusals {
		t.Run(tt.name, func(t *testing.T) {
			e := New(&Options{NoSystemAssigned: true, UserAssigned: make([]Identity, 1)})
			req := newGet(t, e, AppService, tt.query...)
			if tt.change != nil {
				tt.change(req)
			}
			status, header, body := send(t, e, req)
			require.Equal(t, tt.status, status)
			require.Equal(t, "Kestrel", header.Get("Server"))
			if tt.message == "" {
				require.Empty(t, body)
				return
			}
			id := header.Get("X-CORRELATION-ID")
			require.Regexp(t, "^"+guid+"$", id)
			require.Equal(t, fmt.Sprintf(`{"statusCode":400,"message":%q,"correlationId":%q}`, tt.message, id), body)
		})
	}
}

func TestAppService_answersAsDocumented(t *testing.T) {
	e := New(nil)
	status, header, body := send(t, e, newGet(t, e, AppService))
	require.Equal(t, 200, status)
	require.Equal(t, "Kestrel", header.Get("Server"))
	require.Regexp(t, `^{"access_token":"[\w-]+\.[\w-]+\.[\w-]+","expires_on":"\d+",`+regexp.QuoteMeta(
		`"resource":"https://vault.azure.net","token_type":"Bearer","client_id":"`+
			strings.ToUpper(e.SystemAssigned().ClientID)+`"}`)+`$`, body)
}

func TestAppService_findsTheIdentity(t *testing.T) {
	e := New(&Options{UserAssigned: []Identity{{}, {ClientID: "c", ObjectID: "o", ResourceID: "/r"}}})
	for _, selector := range []string{"client_id=C", "object_id=O", "principal_id=o", "mi_res_id=/R"} {
		require.Equal(t, "C", getToken(t, e, AppService, selector)["client_id"], selector)
	}
	require.Equal(t, strings.ToUpper(e.SystemAssigned().ClientID), getToken(t, e, AppService)["client_id"])
}

func TestRotateSecret_forgetsTheOldOne(t *testing.T) {
	e := New(nil)
	old := newGet(t, e, AppService)
	e.RotateSecret()
	status, _, _ := send(t, e, old)
	require.Equal(t, http.StatusForbidden, status)
	require.NotEmpty(t, getToken(t, e, AppService))
	require.NotEqual(t, New(nil).Environ(AppService)["IDENTITY_HEADER"], e.Environ(AppService)["IDENTITY_HEADER"])
}
