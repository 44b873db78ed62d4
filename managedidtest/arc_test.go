package managedidtest

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// newArc makes an emulator whose key directory belongs to the test.
func newArc(t *testing.T, o Options) *Emulator {
	t.Helper()
	o.KeyDir = t.TempDir()
	return New(&o)
}

// challenge sends a first request and returns the path of the key file in the answer.
func challenge(t *testing.T, via doer, req *http.Request) string {
	t.Helper()
	code, header, body := send(t, via, req)
	require.Equal(t, 401, code)
	require.Empty(t, body)
	path, ok := strings.CutPrefix(header.Get("WWW-Authenticate"), "Basic realm=")
	require.True(t, ok)
	return path
}

// prove returns the request with the key in the file at the path.
func prove(t *testing.T, req *http.Request, path string) *http.Request {
	t.Helper()
	key, err := os.ReadFile(path)
	require.NoError(t, err)
	req = req.Clone(t.Context())
	req.Header.Set("Authorization", "Basic "+string(key))
	return req
}

func files(t *testing.T, e *Emulator) int {
	t.Helper()
	all, err := os.ReadDir(e.s.keys.dir)
	require.NoError(t, err)
	return len(all)
}

func TestArc_givesATokenForAKeyOnce(t *testing.T) {
	e := newArc(t, Options{})
	first := newGet(t, e, Arc)
	path := challenge(t, e, first)
	require.Equal(t, e.s.keys.dir, filepath.Dir(path))
	require.Regexp(t, "^"+guid+`\.key$`, filepath.Base(path))
	second := prove(t, first, path)
	code, header, body := send(t, e, second)
	require.Equal(t, 200, code)
	require.Equal(t, "application/json; charset=utf-8", header.Get("Content-Type"))
	require.Regexp(t, `^{"access_token":"[\w-]+\.[\w-]+\.[\w-]+","expires_in":"\d+","expires_on":"\d+",`+
		`"resource":"https://vault\.azure\.net","token_type":"Bearer"}$`, body)
	require.Zero(t, files(t, e))
	code, header, _ = send(t, e, second)
	require.Equal(t, 401, code)
	require.Empty(t, header.Values("WWW-Authenticate"), "whose key is refused isn't told another")
	log := e.Requests()
	require.Equal(t, []Endpoint{Arc, Arc, Arc}, []Endpoint{log[0].Endpoint, log[1].Endpoint, log[2].Endpoint})
	require.Equal(t, e.SystemAssigned().ClientID, log[1].Identity)
	require.Empty(t, log[0].Identity)
	require.NotContains(t, log[1].String(), "Basic")
}

func TestArc_forgetsKeysInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newArc(t, Options{})
		req := newGet(t, e, Arc)
		late := prove(t, req, challenge(t, e, req))
		good := prove(t, req, challenge(t, e, req))
		time.Sleep(keyLife - time.Nanosecond)
		code, _, _ := send(t, e, good)
		require.Equal(t, 200, code)
		time.Sleep(time.Nanosecond)
		code, _, _ = send(t, e, late)
		require.Equal(t, 401, code)
		challenge(t, e, req)
		time.Sleep(keyLife)
		challenge(t, e, req)
		require.Equal(t, 1, files(t, e))
	})
}

func TestArc_refuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		query  []string
		change func(*http.Request)
		status int
		body   string
	}{
		{"another method", nil, func(r *http.Request) { r.Method = http.MethodPost }, 405, wrongMethod},
		{"no metadata header", nil, func(r *http.Request) { r.Header.Del("Metadata") }, 400, noMetadata},
		{"a malformed query", nil, func(r *http.Request) { r.URL.RawQuery += "&x=%zz" }, 400,
			`{"error":"invalid_request","error_description":"Malformed query"}`},
		{"no api-version", []string{"api-version"}, nil, 400,
			`{"error":"invalid_request","error_description":"The api-version is not supported"}`},
		{"that of IMDS", []string{"api-version=2018-02-01"}, nil, 400,
			`{"error":"invalid_request","error_description":"The api-version is not supported"}`},
		{"two selectors", []string{"client_id=a", "object_id=b"}, nil, 400, twice},
		{"no resource", []string{"resource"}, nil, 400, noResource},
		{"another scheme", nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 401,
			`{"error":"unauthorized","error_description":"The key is unknown, has been used, or is too old"}`},
		{"an unknown key", nil, func(r *http.Request) { r.Header.Set("Authorization", "Basic x") }, 401,
			`{"error":"unauthorized","error_description":"The key is unknown, has been used, or is too old"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newArc(t, Options{})
			req := newGet(t, e, Arc, tt.query...)
			if tt.change != nil {
				tt.change(req)
			}
			code, header, body := send(t, e, req)
			require.Equal(t, tt.status, code)
			require.Equal(t, tt.body, body)
			require.Empty(t, header.Get("Server"))
			require.Empty(t, header.Values("WWW-Authenticate"))
		})
	}
}

func TestArc_confirmsTheIdentity(t *testing.T) {
	given := Identity{ClientID: "Client", ObjectID: "Object", ResourceID: "/subscriptions/S/i"}
	const unknown = `{"error":"identity_not_found",` +
		`"error_description":"the requested identity has not been assigned to this resource"}`
	for _, tt := range []struct {
		name    string
		options Options
		query   []string
		answer  string // the text after "Bearer", or the whole body
	}{
		{"system-assigned", Options{UserAssigned: []Identity{given}}, nil, `}`},
		{"by client ID, in any case", Options{UserAssigned: []Identity{given}}, []string{"client_id=cLIENT"},
			`,"client_id":"Client"}`},
		{"by object ID", Options{UserAssigned: []Identity{{}, given}}, []string{"object_id=Object"},
			`,"object_id":"Object"}`},
		{"by resource ID", Options{UserAssigned: []Identity{given}}, []string{"msi_res_id=/subscriptions/s/I"},
			`,"msi_res_id":"/subscriptions/S/i"}`},
		{"by what it doesn't know", Options{UserAssigned: []Identity{given}},
			[]string{"mi_res_id=/subscriptions/S/i"}, `}`},
		{"by an older agent", Options{UserAssigned: []Identity{given}, ArcIgnoresIDs: true},
			[]string{"client_id=Client"}, `}`},
		{"an unknown one by an older agent", Options{ArcIgnoresIDs: true}, []string{"client_id=x"}, `}`},
		{"an unknown one", Options{UserAssigned: []Identity{given}}, []string{"client_id=x"}, unknown},
		{"one of another kind", Options{UserAssigned: []Identity{given}}, []string{"client_id=Object"}, unknown},
		{"no system-assigned", Options{UserAssigned: []Identity{given}, NoSystemAssigned: true}, nil, unknown},
		{"both api-versions", Options{}, []string{"api-version=2019-11-01"}, `}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newArc(t, tt.options)
			req := newGet(t, e, Arc, tt.query...)
			code, _, body := send(t, e, prove(t, req, challenge(t, e, req)))
			if tt.answer == unknown {
				require.Equal(t, 404, code)
				require.Equal(t, unknown, body)
				return
			}
			require.Equal(t, 200, code)
			_, rest, _ := strings.Cut(body, `"Bearer"`)
			require.Equal(t, tt.answer, rest)
			want := e.SystemAssigned().ClientID
			if tt.answer != `}` {
				want = "Client"
			}
			require.Equal(t, want, e.Requests()[1].Identity)
		})
	}
}

func TestArc_isWhereItsClientsLook(t *testing.T) {
	for target, want := range map[string]Endpoint{
		"http://127.0.0.1:9/arc/metadata/identity/oauth2/token":   Arc,
		"http://127.0.0.1:9/metadata/identity/oauth2/token":       IMDS,
		"http://localhost:40342/metadata/identity/oauth2/token":   Arc,
		"http://127.0.0.1:40342/metadata/identity/oauth2/token/":  Arc,
		"http://127.0.0.1:140342/metadata/identity/oauth2/token":  IMDS,
		"https://127.0.0.1:40342/metadata/identity/oauth2/token":  ServiceFabric,
		"http://localhost:40342/msi/token":                        AppService,
		"https://127.0.0.1:9/arc/metadata/identity/oauth2/token/": "",
	} {
		req, err := http.NewRequest(http.MethodGet, target, nil)
		require.NoError(t, err)
		require.Equal(t, want, endpointOf(req, req.URL.Scheme == "https"), target)
	}
}

func TestArc_needsADirectoryForItsKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	e := New(&Options{KeyDir: dir})
	code, _, body := send(t, e, newGet(t, e, Arc))
	require.Equal(t, 500, code)
	require.Contains(t, body, "MakeKeyDir makes the folder")
	e.Setenv(t, Arc)
	require.NoError(t, e.MakeKeyDir())
	challenge(t, e, newGet(t, e, Arc))

	e.s.keys.dir = ""
	require.ErrorContains(t, e.MakeKeyDir(), "set Options.KeyDir")
	code, _, body = send(t, e, newGet(t, e, Arc))
	require.Equal(t, 500, code)
	require.Contains(t, body, "set Options.KeyDir")
	require.Panics(t, func() { e.Setenv(t, Arc) })
	e.s.keys.dir = os.DevNull
	require.Error(t, e.MakeKeyDir())
}

func TestServer_ofArcRemovesItsKeys(t *testing.T) {
	dir := t.TempDir()
	srv := newServer(t, &Options{KeyDir: dir})
	srv.Setenv(t, Arc)
	require.Equal(t, srv.URL+"/arc", os.Getenv("IMDS_ENDPOINT"))
	require.Equal(t, srv.URL+"/arc/metadata/identity/oauth2/token", os.Getenv("IDENTITY_ENDPOINT"))
	req := newGet(t, srv.Emulator, Arc)
	code, _, _ := send(t, srv.Client(), prove(t, req, challenge(t, srv.Client(), req)))
	require.Equal(t, 200, code)
	challenge(t, srv.Client(), req)
	require.Equal(t, 1, files(t, srv.Emulator))
	srv.Close()
	require.Zero(t, files(t, srv.Emulator))
}
