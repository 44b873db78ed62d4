package managedidtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEntra_answersAsRecorded(t *testing.T) {
	e := New(nil)
	code, header, body := send(t, e, newExchange(t, e))
	require.Equal(t, 200, code)
	require.Equal(t, "application/json; charset=utf-8", header.Get("Content-Type"))
	require.Equal(t, "no-store, no-cache", header.Get("Cache-Control"))
	require.Equal(t, "no-cache", header.Get("Pragma"))
	require.Regexp(t, "^"+guid+"$", header.Get("x-ms-request-id"))
	var a map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &a))
	token := a["access_token"].(string)
	require.True(t, strings.HasPrefix(token, "eyJ"))
	want := `{"token_type":"Bearer","expires_in":%v,"ext_expires_in":%[1]v,"access_token":"*"}`
	require.Equal(t, fmt.Sprintf(want, a["expires_in"]), strings.ReplaceAll(body, token, "*"))
}

func TestEntra_issuesATokenForASecret(t *testing.T) {
	e := New(&Options{Applications: []Application{{}, {ClientID: "C", ObjectID: "O",
		Secrets: []Secret{{Value: "~x"}, {Value: "y"}}}}})
	for name, form := range map[string][]string{
		"alone":               nil,
		"another application": {"client_id=C", "client_secret=~x"},
		"its second secret":   {"client_id=c", "client_secret=y"},
		"as MSAL asks":        {"scope=" + vault + "/.default openid offline_access profile", "client_info=1"},
		"empty claims":        {"claims="},
		"other claims":        {`claims={"access_token":{"nbf":{"essential":true,"value":"1"}},"id_token":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := VerifyToken(t.Context(), &http.Client{Transport: e}, e.JWKSURL(), requestToken(t, e, form...),
				vault)
			require.NoError(t, err)
			app := e.Applications()[0]
			if slices.Contains(form, "client_id=C") || slices.Contains(form, "client_id=c") {
				app = e.Applications()[1]
			}
			require.Equal(t, app.ClientID, c.ClientID)
			require.Equal(t, app.ObjectID, c.ObjectID)
			require.Equal(t, e.TenantID(), c.TenantID)
			require.Equal(t, "https://sts.windows.net/"+e.TenantID()+"/", c.Issuer)
		})
	}
}

func TestEntra_issuesANewTokenEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(&Options{TokenLifetime: 2 * time.Hour})
		time.Sleep(1500 * time.Millisecond)
		begin := time.Now()
		_, _, body := send(t, e, newExchange(t, e))
		var a entraToken
		require.NoError(t, json.Unmarshal([]byte(body), &a))
		require.EqualValues(t, 7199, a.ExpiresIn, "whole seconds are left")
		require.False(t, a.AccessToken == requestToken(t, e))
		require.Equal(t, begin, time.Now())
	})
}

func TestEntra_tokenSaysWhoAndWhen(t *testing.T) {
	e := New(nil)
	app := e.Applications()[0]
	var c map[string]any
	token := requestToken(t, e, "scope=https://a.example//.default",
		`claims={"access_token":{"xms_cc":{"values":["CP1"]}}}`)
	require.NoError(t, decodePart(strings.Split(token, ".")[1], &c))
	require.Equal(t, c["iat"].(float64)+3600, c["exp"])
	require.Equal(t, c["iat"].(float64)-300, c["nbf"])
	for _, name := range []string{"iat", "exp", "nbf", "uti"} {
		delete(c, name)
	}
	require.Equal(t, map[string]any{
		"aud": "https://a.example/", "iss": "https://sts.windows.net/" + e.TenantID() + "/", "tid": e.TenantID(),
		"ver": "1.0", "idtyp": "app",
		"appid": app.ClientID, "appidacr": "1", "oid": app.ObjectID, "sub": app.ObjectID, "xms_cc": []any{"CP1"},
	}, c)
}

func TestEntra_servesEachTenant(t *testing.T) {
	const other = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	e := New(&Options{OtherTenants: []string{other, "contoso.example"}})
	for given, want := range map[string]string{
		e.TenantID():                  e.TenantID(),
		strings.ToUpper(e.TenantID()): e.TenantID(),
		strings.ToUpper(other):        other,
		"Contoso.example":             "contoso.example",
	} {
		req := newExchange(t, e)
		req.URL.Path = "/" + given + "/OAuth2/v2.0/token/"
		c, err := VerifyToken(t.Context(), &http.Client{Transport: e}, e.JWKSURL(), tokenIn(t, e, req), vault)
		require.NoError(t, err)
		require.Equal(t, want, c.TenantID)
	}
}

var entraRefusals = []struct {
	name   string
	form   []string
	change func(*http.Request)
	status int
	code   int
	error  string
	text   string // prefix of the description
}{
	{"another method", nil, func(r *http.Request) { r.Method = "PUT" }, 405, 900561, "invalid_request",
		"The endpoint only accepts POST requests. Received a PUT request."},
	{"no form", nil, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, 400, 900144,
		"invalid_request",
		"The request body must contain the following parameter: 'grant_type'."},
	{"no body", nil, func(r *http.Request) { r.Body = nil }, 400, 900144, "invalid_request", ""},
	{"no client", []string{"client_id"}, nil, 400, 900144, "invalid_request",
		"The request body must contain the following parameter: 'client_id'."},
	{"no scope", []string{"scope"}, nil, 400, 900144, "invalid_request",
		"The request body must contain the following parameter: 'scope'."},
	{"an empty scope", []string{"scope="}, nil, 400, 900144, "invalid_request", ""},
	{"another grant", []string{"grant_type=password"}, nil, 400, 70003, "unsupported_grant_type",
		"The app requested an unsupported grant type 'password'."},
	{"an unknown tenant", nil, inTenant("9a6bb3a7-ab9b-4a4b-8b8f-000000000000"), 400, 90002, "invalid_request",
		"Tenant '9a6bb3a7-ab9b-4a4b-8b8f-000000000000' not found. Check to make sure you have the correct tenant ID " +
			"and are signing into the correct cloud. "},
	{"an unknown domain", nil, inTenant("fabrikam.example"), 400, 90002, "invalid_request",
		"Tenant 'fabrikam.example' not found. "},
	{"a malformed tenant", nil, inTenant("e63649b2-07c0-49ed"), 400, 900023, "invalid_request",
		"Specified tenant identifier 'e63649b2-07c0-49ed' is neither a valid DNS name, nor a valid external domain."},
	{"no tenant", nil, inTenant("common"), 400, 50059, "invalid_request",
		"No tenant-identifying information found in either the request or implied by any provided credentials."},
	{"an unknown application", []string{"client_id=x"}, nil, 400, 700016, "unauthorized_client",
		"Application with identifier 'x' was not found in the directory '" + stableGUID("tenant") + "'. "},
	{"a bare resource", []string{"scope=" + vault}, nil, 400, 1002012, "invalid_scope",
		"The provided value for scope https://vault.azure.net is not valid. Client credential flows must have a " +
			"scope value with /.default suffixed"},
	{"no resource", []string{"scope=openid"}, nil, 400, 1002012, "invalid_scope",
		"The provided value for scope openid is not valid."},
	{"/.default alone", []string{"scope=/.default"}, nil, 400, 1002012, "invalid_scope", ""},
	{"two resources", []string{"scope=a/.default b/.default"}, nil, 400, 70011, "invalid_scope",
		"The provided request must include a 'scope' input parameter. The provided value for the input parameter " +
			"'scope' is not valid. The scope a/.default b/.default is not valid."},
	{"no proof", []string{"client_secret"}, nil, 401, 7000216, "invalid_client",
		"'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type."},
	{"a wrong secret", []string{"client_secret=x"}, nil, 401, 7000215, "invalid_client",
		"Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not " +
			"the client secret ID, " +
			"for a secret added to app '" + stableGUID("application-1 client") + "'."},
	{"another's secret", []string{"client_id=C"}, nil, 401, 7000215, "invalid_client",
		"Invalid client secret provided. "},
	{"an expired secret", []string{"client_id=C", "client_secret=old"}, nil, 401, 7000222, "invalid_client",
		"The provided client secret keys for app 'C' are expired. Visit the Azure portal to create new " +
			"keys for your app: "},
	{"an assertion of no type", []string{"client_secret", "client_assertion=x"}, nil, 400, 900144, "invalid_request",
		"The request body must contain the following parameter: 'client_assertion_type'."},
	{"an assertion of another type", []string{"client_secret", "client_assertion=x", "client_assertion_type=x"}, nil,
		401, 7000216, "invalid_client", ""},
	{"claims that are no JSON", []string{"claims=CP1"}, nil, 400, 9002313, "invalid_request",
		"Invalid request. Request is malformed or invalid."},
}

func inTenant(tenant string) func(*http.Request) {
	return func(r *http.Request) { r.URL.Path = "/" + tenant + "/oauth2/v2.0/token" }
}

func TestEntra_refuses(t *testing.T) {
	for _, tt := range entraRefusals {
		t.Run(tt.name, func(t *testing.T) {
			e := New(&Options{Applications: []Application{{},
				{ClientID: "C", Secrets: []Secret{{Value: "old", Expires: time.Now()}}}}})
			req := newExchange(t, e, tt.form...)
			if tt.change != nil {
				tt.change(req)
			}
			p, status := refused(t, e, req)
			require.Equal(t, tt.status, status)
			require.Equal(t, []int{tt.code}, p.Codes)
			require.Equal(t, tt.error, p.Error)
			require.True(t, strings.HasPrefix(p.Description, fmt.Sprintf("AADSTS%d: %s", tt.code, tt.text)),
				p.Description)
			require.Empty(t, e.Requests()[0].Identity)
		})
	}
}

func TestEntra_refusesAParameterTwice(t *testing.T) {
	e := New(nil)
	p, status := refused(t, e, newPost(t, e.AuthorityHost+e.TenantID()+"/oauth2/v2.0/token",
		url.Values{"scope": {"a", "a"}}))
	require.Equal(t, 400, status)
	require.Equal(t, []int{9000411}, p.Codes)
	require.Contains(t, p.Description, "The parameter 'scope' is duplicated.")
}

func TestEntra_refusalNamesTheRequest(t *testing.T) {
	const id = "ab3ac9c5-5e5c-4cf3-a0ea-66ee8e7f3b3c"
	tests := []struct {
		name, header, query string
		echoed              bool
	}{
		{"its header", strings.ToUpper(id), "", true},
		{"its query", "", "?client-request-id=" + id, true},
		{"none", "", "", false},
		{"no GUID", "x" + id, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := New(nil)
				req := newPost(t, e.AuthorityHost+"T/oauth2/v2.0/token"+tt.query, nil)
				req.Header.Set("client-request-id", tt.header)
				p, _ := refused(t, e, req)
				require.Equal(t, tt.echoed, p.CorrelationID == id)
				require.Regexp(t, "^"+guid+"$", p.CorrelationID)
				require.Regexp(t, "^"+guid+"$", p.TraceID)
				require.Equal(t, "2000-01-01 00:00:00Z", p.Timestamp)
				require.Equal(t, "AADSTS900144: The request body must contain the following parameter: 'grant_type'."+
					" Trace ID: "+p.TraceID+" Correlation ID: "+p.CorrelationID+" Timestamp: "+p.Timestamp,
					p.Description)
				require.Equal(t, "https://login.microsoftonline.com/error?code=900144", p.URI)
			})
		})
	}
}

func TestEntra_readsAMebibyte(t *testing.T) {
	e := New(nil)
	p, _ := refused(t, e, newExchange(t, e, "aaa="+strings.Repeat("x", 1<<20))) // url.Values.Encode sorts
	require.Equal(t, []int{900144}, p.Codes)
}

func TestSecret_expiresToTheNanosecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := time.Now().Add(time.Hour)
		e := New(&Options{Applications: []Application{{Secrets: []Secret{{Value: "x", Expires: until}}}}})
		time.Sleep(time.Hour - time.Nanosecond)
		requestToken(t, e)
		time.Sleep(time.Nanosecond)
		p, _ := refused(t, e, newExchange(t, e))
		require.Equal(t, []int{7000222}, p.Codes)
	})
}

func TestEntra_hasFaults(t *testing.T) {
	e := New(nil)
	e.Inject(Fault{Endpoint: Entra, Count: 1, Status: 429, Header: http.Header{"Retry-After": {"7"}}, Body: "{}"})
	code, header, body := send(t, e, newExchange(t, e))
	require.Equal(t, 429, code)
	require.Equal(t, "7", header.Get("Retry-After"))
	require.Equal(t, "no-store, no-cache", header.Get("Cache-Control"))
	require.Equal(t, "{}", body)
	require.True(t, e.Requests()[0].Fault)
	e.Inject(Fault{Endpoint: Discovery, Status: 500})
	requestToken(t, e)
	e.Inject(Fault{Endpoint: Entra, Count: 1, Refused: true})
	require.Equal(t, 200, status(t, e))
	_, err := e.Do(newExchange(t, e))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	requestToken(t, e)
	for _, host := range []Endpoint{EntraSecret, Workload} {
		require.Panics(t, func() { e.Inject(Fault{Endpoint: host, Status: 500}) })
	}
}
