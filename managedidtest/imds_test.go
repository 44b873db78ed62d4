package managedidtest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	guid       = `[0-9a-f]{8}-[0-9a-f]{4}-[45][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`
	notFound   = `{"error":"invalid_request","error_description":"Identity not found"}`
	noMetadata = `{"error":"invalid_request","error_description":"Required metadata header not specified"}`
	several    = `{"error":"invalid_request","error_description":"Multiple user assigned identities exist, ` +
		`please specify the clientId / resourceId of the identity in the token request"}`
	twice       = `{"error":"invalid_request","error_description":"A query variable was specified more than once"}`
	noResource  = `{"error":"invalid_request","error_description":"Required query variable 'resource' is missing"}`
	wrongMethod = `{"error":"invalid_request","error_description":"Method not allowed"}`
	badVersion  = `{"error":"Bad request. api-version is invalid or was not specified in the request. ` +
		`For more information refer to aka.ms/azureimds",` +
		`"newest-versions":["2020-10-01","2020-09-01","2020-07-15"]}`
)

var imdsRefusals = []struct {
	name   string
	query  []string
	change func(*http.Request)
	status int
	body   string
}{
	{"another method", nil, func(r *http.Request) { r.Method = http.MethodPost }, 405, wrongMethod},
	{"the method before all else", nil, func(r *http.Request) { r.Method = http.MethodPut; r.Header = http.Header{} },
		405, wrongMethod},
	{"what a proxy forwarded", nil, func(r *http.Request) {
		r.Header.Set("X-Forwarded-For", "")
		r.Header.Del("Metadata")
	}, 400,
		`{"error":"invalid_request","error_description":"X-Forwarded-For header is not allowed"}`},
	{"no metadata header", nil, func(r *http.Request) { r.Header.Del("Metadata") }, 400, noMetadata},
	{"a probe", []string{"api-version", "resource"}, func(r *http.Request) { r.Header.Del("Metadata") }, 400,
		noMetadata},
	{"Metadata in upper case", nil, func(r *http.Request) { r.Header.Set("Metadata", "True") }, 400, noMetadata},
	{"no api-version", []string{"api-version", "resource"}, nil, 400, badVersion},
	{"an unknown api-version", []string{"api-version=2017-01-01"}, nil, 400, badVersion},
	{"a malformed query", nil, func(r *http.Request) { r.URL.RawQuery += "&x=%zz" }, 400,
		`{"error":"invalid_request","error_description":"Malformed query"}`},
	{"a parameter twice", nil, func(r *http.Request) { r.URL.RawQuery += "&resource=x" }, 400, twice},
	{"two selectors", []string{"client_id=a", "object_id=b"}, nil, 400, twice},
	{"two selectors of one kind", []string{"msi_res_id=a", "mi_res_id=a"}, nil, 400, twice},
	{"no resource", []string{"resource"}, nil, 400, noResource},
	{"an empty resource", []string{"resource="}, nil, 400, noResource},
	{"an unknown client ID", []string{"client_id=x"}, nil, 400, notFound},
	{"an empty client ID", []string{"client_id="}, nil, 400, notFound},
	{"an unknown object ID", []string{"object_id=x"}, nil, 400, notFound},
	{"an unknown resource ID", []string{"msi_res_id=x"}, nil, 400, notFound},
}

func TestIMDS_refuses(t *testing.T) {
	for _, tt := range imdsRefusals {
		t.Run(tt.name, func(t *testing.T) {
			e := New(nil)
			req := newGet(t, e, IMDS, tt.query...)
			if tt.change != nil {
				tt.change(req)
			}
			status, header, body := send(t, e, req)
			require.Equal(t, tt.status, status)
			require.Equal(t, tt.body, body)
			checkIMDSHeader(t, header)
			require.Equal(t, status == 405, header.Get("Allow") == "GET")
			require.Empty(t, e.Requests()[0].Identity)
		})
	}
	require.Len(t, notFound, 68, "the recorded Content-Length")
}

func checkIMDSHeader(t *testing.T, h http.Header) {
	t.Helper()
	require.Equal(t, "IMDS/150.870.65.1475", h.Get("Server"))
	require.Equal(t, "application/json; charset=utf-8", h.Get("Content-Type"))
	require.Regexp(t, "^"+guid+"$", h.Get("x-ms-request-id"))
}

// The answer has Entra's format, as in the mocks of MSAL for .NET.
func TestIMDS_refusesAResourceWithoutAScheme(t *testing.T) {
	for resource, want := range map[string]int{"vault.azure.net": 400, "api://app": 200, "urn:app": 200,
		stableGUID("an application"): 200} {
		e := New(nil)
		resp, err := e.Do(newGet(t, e, IMDS, "resource="+resource))
		require.NoError(t, err)
		require.Equal(t, want, resp.StatusCode, resource)
		var answer entraError
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
		if want == 400 {
			require.Equal(t, "invalid_resource", answer.Error)
			require.Equal(t, []int{500011}, answer.Codes)
			require.Contains(t, answer.Description, "AADSTS500011: The resource principal named vault.azure.net was "+
				"not found in the tenant named "+e.TenantID())
		}
	}
}

func TestIMDS_answersAsRecorded(t *testing.T) {
	e := New(nil)
	status, header, body := send(t, e, newGet(t, e, IMDS, "resource=https://a.example/?b=1&c=<d>"))
	require.Equal(t, 200, status)
	checkIMDSHeader(t, header)
	require.Empty(t, header.Get("Retry-After"))
	require.Regexp(t, `^{"access_token":"[\w-]+\.[\w-]+\.[\w-]+","client_id":"`+e.SystemAssigned().ClientID+
		`","expires_in":"\d+","expires_on":"\d+","ext_expires_in":"3600","not_before":"\d+",`+
		regexp.QuoteMeta(`"resource":"https://a.example/?b=1&c=<d>","token_type":"Bearer"}`)+`$`, body)
}

func TestIMDS_findsTheIdentity(t *testing.T) {
	given := Identity{ClientID: "Client", ObjectID: "Object", ResourceID: "/subscriptions/S/i"}
	tests := []struct {
		name     string
		options  Options
		query    []string
		identity string // client ID, or the body of the error
	}{
		{"system-assigned", Options{SystemAssigned: &given, UserAssigned: make([]Identity, 2)}, nil, "Client"},
		{"system-assigned by name", Options{SystemAssigned: &given}, []string{"object_id=OBJECT"}, "Client"},
		{"by client ID, in any case", Options{UserAssigned: []Identity{{}, given}}, []string{"client_id=cLIENT"},
			"Client"},
		{"by object ID", Options{UserAssigned: []Identity{{}, given}}, []string{"object_id=object"}, "Client"},
		{"by resource ID", Options{UserAssigned: []Identity{{}, given}}, []string{"msi_res_id=/SUBSCRIPTIONS/s/I"},
			"Client"},
		{"by resource ID, as adal names it", Options{UserAssigned: []Identity{given}},
			[]string{"mi_res_id=/subscriptions/S/i"}, "Client"},
		{"not by principal ID", Options{UserAssigned: []Identity{{}, {}}, NoSystemAssigned: true},
			[]string{"principal_id=object"}, several},
		{"the only one", Options{UserAssigned: []Identity{given}, NoSystemAssigned: true}, nil, "Client"},
		{"one of two", Options{UserAssigned: []Identity{given, {}}, NoSystemAssigned: true}, nil, several},
		{"none", Options{NoSystemAssigned: true}, nil, notFound},
		{"not the system's that is switched off", Options{SystemAssigned: &given, NoSystemAssigned: true},
			[]string{"client_id=Client"}, notFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := New(&tt.options)
			if strings.HasPrefix(tt.identity, "{") {
				_, _, body := send(t, e, newGet(t, e, IMDS, tt.query...))
				require.Equal(t, tt.identity, body)
				return
			}
			require.Equal(t, tt.identity, getToken(t, e, IMDS, tt.query...)["client_id"])
			require.Equal(t, tt.identity, e.Requests()[0].Identity)
		})
	}
}

func TestEmulator_routes(t *testing.T) {
	tests := []struct {
		target   string
		endpoint Endpoint
		status   int
	}{
		{"/metadata/identity/oauth2/token", IMDS, 400},
		{"/metadata/identity/oauth2/token/", IMDS, 400},
		{"//metadata/identity/oauth2/token", IMDS, 400},
		{"http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01", IMDS, 400},
		{"/msi/token", AppService, 403},
		{"/MSI/token/", AppService, 403},
		{"/oauth2/token", CloudShell, 405},
		{"/OAuth2/token/", CloudShell, 405},
		{"/msi/auth", AzureML, 403},
		{"/MSI/auth/", AzureML, 403},
		{"/MSI/token/?api-version=2017-09-01", AppService, 403},
		{"/discovery/keys", Keys, 200},
		{"/metadata/instance", "", 404},
		{"/", "", 404},
	}
	for _, tt := range tests {
		t.Run(tt.target, func(t *testing.T) {
			e := New(nil)
			w := httptest.NewRecorder()
			e.ServeHTTP(w, httptest.NewRequest("GET", tt.target, nil))
			require.Equal(t, tt.status, w.Code)
			require.Equal(t, tt.endpoint, e.Requests()[0].Endpoint)
		})
	}
}

func TestIMDS_takesEveryAPIVersionInUse(t *testing.T) {
	for _, v := range []string{"2018-02-01", "2019-08-01", "2017-09-01", "2019-11-01", "2020-06-01",
		"2019-07-01-preview"} {
		e := New(nil)
		require.NotEmpty(t, getToken(t, e, IMDS, "api-version="+v), v)
	}
}
