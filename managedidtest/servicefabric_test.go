package managedidtest

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newFabric makes a valid request. query has changes as in newGet.
func newFabric(t *testing.T, e *Emulator, query ...string) *http.Request {
	t.Helper()
	env := e.Environ(ServiceFabric)
	req := newGet(t, e, ServiceFabric, append([]string{"api-version=2019-07-01-preview"}, query...)...)
	at, err := url.Parse(env["IDENTITY_ENDPOINT"])
	require.NoError(t, err)
	at.RawQuery = req.URL.RawQuery
	req.URL, req.Host = at, ""
	req.Header.Set("Secret", env["IDENTITY_HEADER"])
	return req
}

func TestServiceFabric_refuses(t *testing.T) {
	const notFound = `"code":"ManagedIdentityNotFound",` +
		`"message":"Managed identity not found for the specified application host."`
	for _, tt := range []struct {
		name    string
		options Options
		query   string
		change  func(*Emulator, *http.Request)
		status  int
		body    string
	}{
		{name: "another method", change: func(_ *Emulator, r *http.Request) { r.Method = http.MethodPost }, status: 405,
			body: `"code":"MethodNotAllowed","message":"The method must be GET."`},
		{name: "no secret", change: func(_ *Emulator, r *http.Request) { r.Header.Del("Secret") }, status: 400,
			body: `"code":"SecretHeaderNotFound","message":"Secret is not found in the request headers."`},
		{name: "another secret", change: func(_ *Emulator, r *http.Request) { r.Header.Set("Secret", "x") },
			status: 404, body: notFound},
		{name: "an old secret", change: func(e *Emulator, _ *http.Request) { e.RotateSecret() }, status: 404,
			body: notFound},
		{name: "no identity", options: Options{NoSystemAssigned: true, UserAssigned: make([]Identity, 1)}, status: 404,
			body: notFound},
		{name: "a removed identity", change: func(e *Emulator,
			_ *http.Request) {
			e.RemoveIdentity(e.SystemAssigned().ClientID)
		}, status: 404, body: notFound},
		{name: "no resource", query: "resource", status: 400,
			body: `"code":"ArgumentNullOrEmpty",` +
				`"message":"The parameter 'resource' should not be null or empty string."`},
		{name: "no version", query: "api-version", status: 400,
			body: `"code":"InvalidApiVersion",` +
				`"message":"The api-version '' is not supported. Supported version is '2019-07-01-preview'."`},
		{name: "a malformed query", change: func(_ *Emulator, r *http.Request) { r.URL.RawQuery += "&%" }, status: 400,
			body: `"code":"InvalidQuery","message":"The query is malformed."`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := New(&tt.options)
			var query []string
			if tt.query != "" {
				query = []string{tt.query}
			}
			req := newFabric(t, e, query...)
			if tt.change != nil {
				tt.change(e, req)
			}
			status, header, body := send(t, e, req)
			require.Equal(t, tt.status, status)
			require.Regexp(t, `^{"error":{"correlationId":"`+guid+`",`, body)
			require.True(t, strings.HasSuffix(body, tt.body+"}}"), body)
			require.Equal(t, status == 405, header.Get("Allow") == "GET")
			r := e.Requests()[0]
			require.Equal(t, ServiceFabric, r.Endpoint)
			require.Empty(t, r.Identity)
		})
	}
}

// fabricToken requests a token.
func fabricToken(t *testing.T, via doer, e *Emulator, query ...string) string {
	t.Helper()
	status, _, body := send(t, via, newFabric(t, e, query...))
	require.Equal(t, 200, status)
	var answer map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	require.Len(t, answer, 4)
	require.Equal(t, "Bearer", answer["token_type"])
	require.Equal(t, vault, answer["resource"])
	require.InDelta(t, time.Now().Add(time.Hour).Unix(), answer["expires_on"], 60)
	return answer["access_token"].(string)
}

func TestServiceFabric_givesTheApplicationsTokenOverTLS(t *testing.T) {
	srv := newServer(t, &Options{UserAssigned: make([]Identity, 1)})
	for _, version := range serviceFabricVersions {
		raw := fabricToken(t, srv.Client(), srv.Emulator, "api-version="+version,
			"client_id="+srv.UserAssigned()[0].ClientID)
		claims, err := VerifyToken(t.Context(), srv.Client(), srv.JWKSURL(), raw, vault)
		require.NoError(t, err)
		require.Equal(t, srv.SystemAssigned().ObjectID, claims.ObjectID)
		log := srv.Requests()
		require.Equal(t, claims.ClientID, log[len(log)-2].Identity, "before the keys")
	}
	req := newFabric(t, srv.Emulator)
	req.URL.Scheme, req.URL.Host = "http", strings.TrimPrefix(srv.URL, "http://")
	status, _, _ := send(t, srv.Client(), req)
	require.Equal(t, 400, status)
	log := srv.Requests()
	require.Equal(t, IMDS, log[len(log)-1].Endpoint, "in clear the path is another endpoint's")
}

func TestServiceFabric_itsThumbprintIsThatOfTheServersCertificate(t *testing.T) {
	srv := newServer(t, nil)
	env := srv.Environ(ServiceFabric)
	require.Equal(t, srv.AuthorityHost+"metadata/identity/oauth2/token", env["IDENTITY_ENDPOINT"])
	_, secure := srv.addresses()
	conn, err := tls.Dial("tcp", secure, &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, fmt.Sprintf("%X", sha1.Sum(conn.ConnectionState().PeerCertificates[0].Raw)),
		env["IDENTITY_SERVER_THUMBPRINT"])

	env = New(nil).Environ(ServiceFabric)
	require.Equal(t, "https://localhost:2377/metadata/identity/oauth2/token", env["IDENTITY_ENDPOINT"])
	require.Regexp(t, "^[0-9A-F]{40}$", env["IDENTITY_SERVER_THUMBPRINT"])
	require.Equal(t, env["IDENTITY_SERVER_THUMBPRINT"], New(nil).Environ(ServiceFabric)["IDENTITY_SERVER_THUMBPRINT"])
}

func TestServiceFabric_replacesTheTokenThatWasRefused(t *testing.T) {
	e := New(nil)
	refresh := func(token string) string {
		return fmt.Sprintf("token_sha256_to_refresh=%x", sha256.Sum256([]byte(token)))
	}
	first := fabricToken(t, e, e)
	require.True(t, first == fabricToken(t, e, e), "the platform keeps it")
	require.True(t, first == fabricToken(t, e, e, refresh("another")))
	upper := fmt.Sprintf("token_sha256_to_refresh=%X", sha256.Sum256([]byte(first)))
	require.True(t, first == fabricToken(t, e, e, upper), "its digits are in lower case")
	second := fabricToken(t, e, e, refresh(first))
	require.False(t, first == second)
	require.True(t, second == fabricToken(t, e, e, refresh(first)), "it was replaced already")
	require.True(t, second == fabricToken(t, e, e))
	require.False(t, second == fabricToken(t, e, e, refresh(second), "resource="+vault))
}

func TestServiceFabric_capabilitiesAreInTheToken(t *testing.T) {
	e := New(nil)
	for query, want := range map[string][]string{"xms_cc": nil, "xms_cc=cp1": {"CP1"},
		"xms_cc=cp1,cp2": {"CP1", "CP2"}} {
		raw := fabricToken(t, e, e, query)
		var c claims
		require.NoError(t, decodePart(strings.Split(raw, ".")[1], &c))
		require.Equal(t, want, c.Capabilities)
		require.True(t, raw == fabricToken(t, e, e, query), "each kind is kept")
	}
}

func TestServiceFabric_faultsAreItsOwn(t *testing.T) {
	srv := newServer(t, nil)
	srv.Inject(Fault{Endpoint: ServiceFabric, Count: 1, Status: 429, Header: http.Header{"Retry-After": {"1"}}})
	status, _, _ := send(t, srv.Client(), newExchange(t, srv.Emulator))
	require.Equal(t, 200, status)
	status, header, _ := send(t, srv.Client(), newFabric(t, srv.Emulator))
	require.Equal(t, 429, status)
	require.Equal(t, "1", header.Get("Retry-After"))
	fabricToken(t, srv.Client(), srv.Emulator)
}
