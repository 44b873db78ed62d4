package managedidtest

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func newShell(t *testing.T, e *Emulator, resources ...string) *http.Request {
	t.Helper()
	req := newPost(t, e.Environ(CloudShell)["MSI_ENDPOINT"], url.Values{"resource": resources})
	req.Header.Set("Metadata", "true")
	return req
}

func TestCloudShell_refuses(t *testing.T) {
	for _, tt := range []struct {
		name      string
		resources []string
		change    func(*http.Request)
		status    int
		body      string
	}{
		{"another method", []string{vault}, func(r *http.Request) { r.Method = http.MethodGet }, 405,
			`{"error":{"code":"MethodNotAllowed","message":"The method must be POST."}}`},
		{"no metadata header", []string{vault}, func(r *http.Request) { r.Header.Del("Metadata") }, 400,
			`{"error":{"code":"MetadataHeaderMissing","message":"The Metadata header must be true."}}`},
		{"no resource", nil, nil, 400,
			`{"error":{"code":"AudienceNotSupported","message":"Audience  is not a supported MSI token audience."}}`},
		{"two resources", []string{"a", "b"}, nil, 400,
			`{"error":{"code":"AudienceNotSupported","message":"Audience a is not a supported MSI token audience."}}`},
		{"a body that is no form", []string{vault}, func(r *http.Request) {
			r.Header.Set("Content-Type",
				"application/json")
		}, 400,
			`{"error":{"code":"AudienceNotSupported","message":"Audience  is not a supported MSI token audience."}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := New(nil)
			req := newShell(t, e, tt.resources...)
			if tt.change != nil {
				tt.change(req)
			}
			status, header, body := send(t, e, req)
			require.Equal(t, tt.status, status)
			require.Equal(t, tt.body, body)
			require.Equal(t, status == 405, header.Get("Allow") == "POST")
			require.Equal(t, CloudShell, e.Requests()[0].Endpoint)
		})
	}
}

func TestCloudShell_givesTheUsersToken(t *testing.T) {
	srv := newServer(t, &Options{NoSystemAssigned: true, UserAssigned: make([]Identity, 1)})
	status, _, body := send(t, srv.Client(), newShell(t, srv.Emulator, vault))
	require.Equal(t, 200, status)
	require.Regexp(t, `^{"access_token":"[\w-]+\.[\w-]+\.[\w-]+","refresh_token":"",`+
		`"expires_in":"\d+","expires_on":"\d+","not_before":"\d+",`+
		regexp.QuoteMeta(`"resource":"https://vault.azure.net","token_type":"Bearer"}`)+`$`, body)
	raw := regexp.MustCompile(`"access_token":"([^"]+)"`).FindStringSubmatch(body)[1]
	claims, err := VerifyToken(t.Context(), srv.Client(), srv.JWKSURL(), raw, vault)
	require.NoError(t, err)
	require.NotEqual(t, srv.UserAssigned()[0].ObjectID, claims.ObjectID)
	var c struct {
		IDType string `json:"idtyp"`
	}
	require.NoError(t, decodePart(strings.Split(raw, ".")[1], &c))
	require.Equal(t, "user", c.IDType)
	r := srv.Requests()[0]
	require.Equal(t, vault, r.Resource)
	require.Equal(t, claims.ClientID, r.Identity)
	require.Regexp(t, `^\S+ POST /oauth2/token resource=https://vault\.azure\.net 200 identity=`+claims.ClientID+`$`,
		r.String())
}
