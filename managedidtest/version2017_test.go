package managedidtest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const noSuchMLIdentity = "InternalError - :{\nInfo: Request failure status code: 404\n\n}"

func TestVersion2017_refuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		query  []string
		change func(*http.Request)
		status int
		text   string // part of the body; empty: there is no body
	}{
		{"another method", nil, func(r *http.Request) { r.Method = http.MethodPost }, 405, ""},
		{"no secret", nil, func(r *http.Request) { r.Header.Del("secret") }, 403, ""},
		{"a wrong secret", nil, func(r *http.Request) { r.Header.Set("secret", "x") }, 403, ""},
		{"the secret in the header of later versions", nil, func(r *http.Request) {
			r.Header.Set("X-IDENTITY-HEADER", r.Header.Get("secret"))
			r.Header.Del("secret")
		}, 403, ""},
		{"a malformed query", nil, func(r *http.Request) { r.URL.RawQuery += "&x=%zz" }, 400,
			"The query is malformed."},
		{"a parameter twice", nil, func(r *http.Request) { r.URL.RawQuery += "&resource=x" }, 400, severalIDs},
		{"two selectors", []string{"clientid=a", "client_id=b"}, nil, 400, severalIDs},
		{"a selector of later versions", []string{"client_id=a"}, nil, 400,
			`The parameter \"client_id\" is not known in this api-version, only clientid.`},
		{"no resource", []string{"resource"}, nil, 400, "The resource is missing."},
	} {
		for _, at := range []Endpoint{AppService2017, AzureML} {
			t.Run(tt.name+" at "+string(at), func(t *testing.T) {
				e := New(nil)
				req := newGet(t, e, at, tt.query...)
				if tt.change != nil {
					tt.change(req)
				}
				status, header, body := send(t, e, req)
				require.Equal(t, tt.status, status)
				require.Equal(t, status == 405, header.Get("Allow") == "GET")
				require.Equal(t, tt.text == "", body == "")
				require.Contains(t, body, tt.text)
				require.Empty(t, e.Requests()[0].Identity)
			})
		}
	}
	e := New(nil)
	_, _, body := send(t, e, newGet(t, e, AzureML, "api-version=2019-08-01"))
	require.Contains(t, body, "The api-version is not supported.")
}

func TestVersion2017_findsTheIdentity(t *testing.T) {
	user := Identity{ClientID: "User"}
	both, users := Options{SystemAssigned: &Identity{ClientID: "System"}, UserAssigned: []Identity{user}},
		Options{NoSystemAssigned: true, UserAssigned: []Identity{user, {}}}
	for _, tt := range []struct {
		name    string
		at      Endpoint
		options Options
		query   []string
		want    string // the client ID, or a part of the body of the error
	}{
		{"system-assigned", AppService2017, both, nil, "System"},
		{"user-assigned, in any case", AppService2017, both, []string{"clientid=uSER"}, "User"},
		{"none", AppService2017, users, nil, unable},
		{"unknown", AppService2017, both, []string{"clientid=x"}, unable},
		{"the default: system-assigned", AzureML, both, nil, "System"},
		{"the default by name", AzureML, both, []string{"clientid=system"}, "System"},
		{"the default without a name, as MSAL for Go has it", AzureML, both, []string{"clientid="}, "System"},
		{"the default: user-assigned", AzureML, users, nil, "User"},
		{"user-assigned", AzureML, both, []string{"clientid=user"}, "User"},
		{"none", AzureML, Options{NoSystemAssigned: true}, nil, noSuchMLIdentity},
		{"unknown", AzureML, both, []string{"clientid=x"}, noSuchMLIdentity},
	} {
		t.Run(tt.name+" at "+string(tt.at), func(t *testing.T) {
			e := New(&tt.options)
			status, _, body := send(t, e, newGet(t, e, tt.at, tt.query...))
			if status != 200 {
				require.Contains(t, body, tt.want)
			}
			require.Equal(t, status == 200, e.Requests()[0].Identity == tt.want)
		})
	}
	e := New(&users)
	require.Equal(t, "User", e.Environ(AzureML)["DEFAULT_IDENTITY_CLIENT_ID"])
	require.Empty(t, New(&Options{NoSystemAssigned: true}).Environ(AzureML)["DEFAULT_IDENTITY_CLIENT_ID"])
}

func TestVersion2017_answersAsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock begins at midnight
		for _, tt := range []struct {
			name    string
			at      Endpoint
			windows bool
			after   time.Duration
			want    string // the fields between access_token and resource
		}{
			{"Azure ML", AzureML, false, 0, `"expires_in":3600,"expires_on":946688400`},
			{"Linux", AppService2017, false, 4 * time.Hour, `"expires_on":"01/01/2000 05:00:00 +00:00"`},
			{"Windows, in the morning", AppService2017, true, 0, `"expires_on":"1/1/2000 5:00:00 AM +00:00"`},
			{"Windows, after noon", AppService2017, true, 8 * time.Hour, `"expires_on":"1/1/2000 1:00:00 PM +00:00"`},
			{"Windows, after midnight", AppService2017, true, 11 * time.Hour,
				`"expires_on":"1/2/2000 12:00:00 AM +00:00"`},
		} {
			time.Sleep(tt.after)
			e := New(&Options{WindowsDates: tt.windows})
			status, header, body := send(t, e, newGet(t, e, tt.at))
			require.Equal(t, 200, status)
			require.Equal(t, "application/json; charset=utf-8", header.Get("Content-Type"))
			var token struct {
				AccessToken string `json:"access_token"`
			}
			require.NoError(t, json.Unmarshal([]byte(body), &token))
			require.True(t, strings.Count(token.AccessToken, ".") == 2)
			require.Equal(t, `{"access_token":"",`+tt.want+
				`,"resource":"https://vault.azure.net","token_type":"Bearer"}`,
				strings.Replace(body, token.AccessToken, "", 1), tt.name)
		}
	})
}

func TestInject_takesEndpointsOnly(t *testing.T) {
	for host, want := range map[Endpoint]string{
		EntraSecret:    "managedidtest: invalid Fault: entra-secret is no endpoint; Entra is",
		AppService2017: "managedidtest: invalid Fault: appservice-2017 is no endpoint; AppService is",
	} {
		require.PanicsWithValue(t, want, func() { New(nil).Inject(Fault{Endpoint: host}) })
	}
	e := New(nil)
	e.Inject(Fault{Endpoint: CloudShell, Count: 1, Status: 503})
	e.Inject(Fault{Endpoint: AzureML, Count: 1, Status: 500})
	status, _, _ := send(t, e, newShell(t, e, vault))
	require.Equal(t, 503, status)
	status, _, _ = send(t, e, newGet(t, e, AzureML))
	require.Equal(t, 500, status)
	require.Equal(t, url.Values{"resource": {vault}}, e.Requests()[0].Form)
}
