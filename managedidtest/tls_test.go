package managedidtest

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func (s *Server) addresses() (clear, secure string) {
	secure = strings.TrimSuffix(strings.TrimPrefix(s.AuthorityHost, "https://"), "/")
	return strings.TrimPrefix(s.URL, "http://"), secure
}

func TestServer_servesEntraOverTLSOnly(t *testing.T) {
	srv := newServer(t, nil)
	require.Regexp(t, `^https://127\.0\.0\.1:\d+/$`, srv.AuthorityHost)
	clear, secure := srv.addresses()
	require.NotEqual(t, clear, secure)
	tests := []struct {
		name     string
		req      *http.Request
		endpoint Endpoint
		status   int // with the right scheme; with the other one it is 404
	}{
		{"Azure ML", newGet(t, srv.Emulator, AzureML), AzureML, 200},
		{"App Service", newGet(t, srv.Emulator, AppService), AppService, 200},
		{"keys", newGet(t, srv.Emulator, Keys), Keys, 200},
		{"Entra", newExchange(t, srv.Emulator, "client_secret"), Entra, 401},
		{"discovery", newPost(t, srv.AuthorityHost+"common/discovery/instance", nil), Discovery, 405},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, _, _ := send(t, srv.Client(), tt.req)
			require.Equal(t, tt.status, code)
			wrong := tt.req.Clone(t.Context())
			wrong.Body = http.NoBody
			wrong.URL.Scheme, wrong.URL.Host, wrong.Host = "https", secure, ""
			if tt.endpoint.secure() {
				wrong.URL.Scheme, wrong.URL.Host = "http", clear
			}
			for _, via := range []doer{srv.Client(), srv.Emulator} {
				code, _, _ = send(t, via, wrong)
				require.Equal(t, 404, code)
			}
			log := srv.Requests()
			require.Equal(t, tt.endpoint, log[len(log)-3].Endpoint)
			require.Zero(t, log[len(log)-2].Endpoint)
			require.Zero(t, log[len(log)-1].Endpoint)
		})
	}
}

func TestServer_issuesTokensThatItsResourcesAccept(t *testing.T) {
	srv := newServer(t, &Options{OtherTenants: []string{"Other"}})
	api := srv.NewResource(vault, nil)
	f := newTokenFile(t, srv.Emulator, nil)
	for _, req := range []*http.Request{newExchange(t, srv.Emulator),
		newExchange(t, srv.Emulator, withAssertion(read(t, f.Path))...)} {
		for tenant, want := range map[string]int{srv.TenantID(): 200, "Other": 401} {
			tenantReq := req.Clone(t.Context())
			tenantReq.Body, _ = req.GetBody()
			tenantReq.URL.Path = "/" + tenant + "/oauth2/v2.0/token"
			code, _, _ := call(t, srv, api.URL, "Bearer "+tokenIn(t, srv.Client(), tenantReq))
			require.Equal(t, want, code)
		}
	}
	require.Equal(t, srv.Applications()[0].ClientID, srv.Requests()[0].Identity)
}

func TestServer_hasACertificateForEveryAuthorityHost(t *testing.T) {
	srv := newServer(t, &Options{Addr: "127.0.0.2:0"})
	_, secure := srv.addresses()
	require.True(t, strings.HasPrefix(secure, "127.0.0.2:"))
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(srv.CertificatePEM()))
	for _, name := range []string{
		"localhost", "127.0.0.1", "::1", "127.0.0.2", "login.microsoftonline.com", "login.microsoftonline.us",
		"login.chinacloudapi.cn",
		"login.partner.microsoftonline.cn", "westeurope.login.microsoft.com",
	} {
		conn, err := tls.Dial("tcp", secure, &tls.Config{ServerName: name, RootCAs: roots})
		require.NoError(t, err, name)
		require.NoError(t, conn.Close())
	}
	other := newServer(t, nil)
	require.NotEqual(t, string(srv.CertificatePEM()), string(other.CertificatePEM()))
	require.NotContains(t, string(srv.CertificatePEM()), "KEY")
}

func TestServer_refusesAtTheEndpointsAddress(t *testing.T) {
	srv := newServer(t, nil)
	clear, secure := srv.addresses()
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	refuses := func(addr string) bool {
		var conn net.Conn
		var err error
		if addr == secure {
			conn, err = tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: "localhost"})
		} else {
			conn, err = net.Dial("tcp", addr)
		}
		if err == nil {
			conn.Close()
			return false
		}
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		return true
	}
	for _, tt := range []struct {
		at            Endpoint
		clear, secure bool
	}{
		{IMDS, true, false}, {AppService, true, false}, {Keys, true, false}, {Entra, false, true},
		{Discovery, false, true},
		{ServiceFabric, false, true}, {"", true, true},
	} {
		srv.Inject(Fault{Endpoint: tt.at, Refused: true})
		require.Equal(t, tt.clear, refuses(clear), tt.at)
		require.Equal(t, tt.secure, refuses(secure), tt.at)
		srv.ClearFaults()
		require.False(t, refuses(clear) || refuses(secure))
	}
	code, _, _ := send(t, srv.Client(), newExchange(t, srv.Emulator))
	require.Equal(t, 200, code)
}

func TestServer_resetsOverTLS(t *testing.T) {
	srv := newServer(t, nil)
	srv.Inject(Fault{Endpoint: Entra, Count: 1, Reset: true})
	_, err := srv.Client().Do(newExchange(t, srv.Emulator))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	code, _, _ := send(t, srv.Client(), newExchange(t, srv.Emulator))
	require.Equal(t, 200, code)
}
