package interop

import (
	"cmp"
	"net/http"
	"net/url"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// host is an environment with a managed identity endpoint, and what libraries send there.
type host struct {
	managedidtest.Endpoint
	request   string            // method and path
	version   string            // zero: none is sent
	selectors [4]string         // parameters by kind of identity; "-" for none; "" where libraries refuse the kind
	headers   map[string]string // of those in headersOfInterest; $NAME is a variable's value
}

var headersOfInterest = []string{"Metadata", "Secret", "X-Client-Sku", "X-Identity-Header"}

const tokenPath = "GET /metadata/identity/oauth2/token"

var (
	imds = host{managedidtest.IMDS, tokenPath, "2018-02-01", [4]string{"-", "client_id", "object_id", "msi_res_id"},
		map[string]string{"Metadata": "true", "X-Client-Sku": "MSAL.Go"}}
	arc = host{managedidtest.Arc, "GET /arc/metadata/identity/oauth2/token", "2020-06-01", imds.selectors,
		map[string]string{"Metadata": "true"}}

	hosts = []host{
		imds,
		{managedidtest.AppService, "GET /msi/token", "2019-08-01", [4]string{"-", "client_id", "object_id", "mi_res_id"},
			map[string]string{"X-Identity-Header": "$IDENTITY_HEADER"}},
		{managedidtest.CloudShell, "POST /oauth2/token", "", [4]string{"-"}, map[string]string{"Metadata": "true"}},
		{managedidtest.AzureML, "GET /msi/auth", "2017-09-01", [4]string{"clientid", "clientid"}, map[string]string{"Secret": "$MSI_SECRET"}},
		{managedidtest.ServiceFabric, tokenPath, "2019-07-01-preview", [4]string{"-"}, map[string]string{"Secret": "$IDENTITY_HEADER"}},
	}
)

// check has each library get a token for each kind of identity; the host's variables are set. A nil via is the library's
// own client.
func (h host) check(t *testing.T, s *managedidtest.Server, via *http.Client) {
	t.Helper()
	for _, c := range clients {
		for kind, selector := range h.selectors {
			t.Run(c.name+" "+kinds[kind], func(t *testing.T) {
				get, err := c.new(kind, via)
				if selector == "" {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				resource, before := newResource(), len(s.Requests())
				token, expires, err := get(t.Context(), resource)
				require.NoError(t, err)
				sent := s.Requests()[before:]
				claims, err := managedidtest.VerifyToken(t.Context(), s.Client(), s.JWKSURL(), token, resource)
				require.NoError(t, err)
				require.Equal(t, claims.Expires.Unix(), expires.Unix())
				require.Equal(t, kind != system, claims.ObjectID == user.ObjectID)
				h.checkSent(t, sent, kind, resource)
				require.Equal(t, claims.ClientID, sent[len(sent)-1].Identity)
			})
		}
	}
}

// checkSent asserts that the log has the requests for one token and nothing else: at Azure Arc two, of which only the second
// has the key.
func (h host) checkSent(t *testing.T, sent []managedidtest.Request, kind int, resource string) {
	t.Helper()
	last := map[bool]int{true: 1}[h.Endpoint == managedidtest.Arc]
	require.Len(t, sent, last+1)
	want := url.Values{"resource": {resource}}
	if h.version != "" {
		want.Set("api-version", h.version)
	}
	if selector := h.selectors[kind]; selector != "-" {
		want.Set(selector, cmp.Or(idOf(kind), os.Getenv("DEFAULT_IDENTITY_CLIENT_ID")))
	}
	for i, r := range sent {
		require.Equal(t, h.Endpoint, r.Endpoint)
		require.Equal(t, h.request, r.Method+" "+r.Path)
		if r.Method == http.MethodPost {
			require.Empty(t, r.Query)
			require.Equal(t, want, r.Form)
		} else {
			require.Equal(t, want, r.Query)
		}
		for _, name := range headersOfInterest {
			require.True(t, r.Header.Get(name) == os.ExpandEnv(h.headers[name]), name)
		}
		require.Equal(t, i == 1, r.Header.Get("Authorization") != "", "the key of Azure Arc")
		require.Equal(t, i < last, r.Status == http.StatusUnauthorized)
	}
}

func options() *managedidtest.Options {
	return &managedidtest.Options{UserAssigned: []managedidtest.Identity{user}}
}

func TestManagedIdentity(t *testing.T) {
	for _, h := range hosts {
		for name, sockets := range map[string]bool{"over sockets": true, "without": false} {
			if sockets && h.Endpoint == managedidtest.IMDS || !sockets && h.Endpoint == managedidtest.ServiceFabric {
				continue // no variable moves IMDS for these libraries: see hosts_linux_test.go; a pin needs a handshake
			}
			t.Run(string(h.Endpoint)+" "+name, func(t *testing.T) {
				s := managedidtest.NewServer(options())
				t.Cleanup(s.Close)
				s.Setenv(t, h.Endpoint)
				via := &http.Client{Transport: s.Emulator}
				if sockets {
					via = nil
				}
				h.check(t, s, via)
			})
		}
	}
}

func TestManagedIdentity_azureMLWithoutADefault(t *testing.T) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			em := managedidtest.New(nil)
			em.Setenv(t, managedidtest.AzureML)
			t.Setenv("DEFAULT_IDENTITY_CLIENT_ID", "")
			get, err := c.new(system, &http.Client{Transport: em})
			require.NoError(t, err)
			_, _, err = get(t.Context(), newResource())
			require.NoError(t, err)
			r := em.Requests()[0]
			require.Equal(t, []string{""}, r.Query["clientid"])
			require.Equal(t, em.SystemAssigned().ClientID, r.Identity)
		})
	}
}
