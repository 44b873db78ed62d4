package interop

import (
	"net/http"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// host is an environment with a managed identity endpoint.
type host struct {
	managedidtest.Endpoint
	request   string    // method and path
	selectors [4]string // parameters by kind of identity; "" where libraries refuse the kind
}

var (
	imds = host{managedidtest.IMDS, "GET /metadata/identity/oauth2/token", [4]string{"-", "client_id", "object_id", "msi_res_id"}}
	arc  = host{managedidtest.Arc, "GET /arc/metadata/identity/oauth2/token", imds.selectors}

	hosts = []host{
		{managedidtest.AppService, "GET /msi/token", [4]string{"-", "client_id", "object_id", "mi_res_id"}},
		{managedidtest.CloudShell, "POST /oauth2/token", [4]string{"-"}},
		{managedidtest.AzureML, "GET /msi/auth", [4]string{"-", "clientid"}},
	}
)

// check has each library get a token for each kind of identity. environ sets the host's variables; a nil via is the
// library's own client.
func (h host) check(t *testing.T, s *managedidtest.Server, em *managedidtest.Emulator, via *http.Client) {
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
				resource, before := "https://"+t.Name(), len(em.Requests()) // of its own, since libraries cache for the process
				token, expires, err := get(t.Context(), resource)
				require.NoError(t, err)
				sent := em.Requests()[before:]
				claims, err := managedidtest.VerifyToken(t.Context(), s.Client(), s.JWKSURL(), token, resource)
				require.NoError(t, err)
				require.Equal(t, claims.Expires.Unix(), expires.Unix())
				require.Equal(t, kind != system, claims.ObjectID == user.ObjectID)
				h.checkSent(t, sent, kind, resource, claims.ClientID)
			})
		}
	}
}

// checkSent looks at the log: for Azure Arc at both legs.
func (h host) checkSent(t *testing.T, sent []managedidtest.Request, kind int, resource, identity string) {
	t.Helper()
	last := len(sent) - 1
	require.Equal(t, map[bool]int{true: 1, false: 0}[h.Endpoint == managedidtest.Arc], last)
	require.Equal(t, identity, sent[last].Identity)
	for i, r := range sent {
		require.Equal(t, map[bool]int{true: 200, false: 401}[i == last], r.Status)
		require.Equal(t, h.request, r.Method+" "+r.Path)
		require.Equal(t, resource, r.Resource)
		require.Equal(t, i == last && last > 0, r.Header.Get("Authorization") != "", "the key")
		for other, selector := range h.selectors {
			if other != system && selector != "" && !(h.Endpoint == managedidtest.AzureML && kind == system) {
				require.Equal(t, map[bool]string{true: idOf(kind)}[other == kind], r.Query.Get(selector))
			}
		}
	}
}

func options() *managedidtest.Options {
	return &managedidtest.Options{UserAssigned: []managedidtest.Identity{user}}
}

func TestManagedIdentity(t *testing.T) {
	for _, h := range append(hosts, imds) {
		for _, sockets := range []bool{true, false} {
			if sockets && h == imds {
				continue // whose address no variable changes for these libraries: see hosts_linux_test.go
			}
			t.Run(string(h.Endpoint)+map[bool]string{true: " over sockets", false: ""}[sockets], func(t *testing.T) {
				s := managedidtest.NewServer(options())
				t.Cleanup(s.Close)
				var via *http.Client
				if !sockets {
					via = &http.Client{Transport: s.Emulator}
				}
				s.Setenv(t, h.Endpoint)
				h.check(t, s, s.Emulator, via)
			})
		}
	}
}

func TestAzidentity_azureMLWithoutADefault(t *testing.T) {
	em := managedidtest.New(nil)
	em.Setenv(t, managedidtest.AzureML)
	t.Setenv("DEFAULT_IDENTITY_CLIENT_ID", "")
	c, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}})
	require.NoError(t, err)
	_, err = c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://" + t.Name()}})
	require.NoError(t, err)
	r := em.Requests()[0]
	require.Equal(t, []string{""}, r.Query["clientid"])
	require.Equal(t, em.SystemAssigned().ClientID, r.Identity)
}

func TestAzidentity_refusals(t *testing.T) {
	for _, row := range []struct {
		name  string
		host  managedidtest.Endpoint
		fault managedidtest.Fault
		id    azidentity.ManagedIDKind
		want  string // in the error
	}{
		{"unknown identity", managedidtest.AppService, managedidtest.Fault{}, azidentity.ClientID("unknown"), "Unable to load the proper Managed Identity."},
		{"unknown identity", managedidtest.AzureML, managedidtest.Fault{}, azidentity.ClientID("unknown"), "Request failure status code: 404"},
		{"unsupported audience", managedidtest.CloudShell, managedidtest.Fault{Status: 400,
			Body: `{"error":{"code":"AudienceNotSupported","message":"Audience x is not a supported MSI token audience."}}`}, nil, "AudienceNotSupported"},
	} {
		t.Run(row.name+" at "+string(row.host), func(t *testing.T) {
			em := managedidtest.New(nil)
			em.Setenv(t, row.host)
			if row.fault.Status != 0 {
				em.Inject(row.fault)
			}
			o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}, ID: row.id}
			c, err := azidentity.NewManagedIdentityCredential(o)
			require.NoError(t, err)
			_, err = c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://" + t.Name()}})
			var failed *azidentity.AuthenticationFailedError
			require.ErrorAs(t, err, &failed)
			require.ErrorContains(t, err, row.want)
		})
	}
}
