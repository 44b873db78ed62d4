package interop

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

var user = managedidtest.Identity{ClientID: "0b4ff0a1-0000-4000-8000-00000000000c", ObjectID: "0b4ff0a1-0000-4000-8000-00000000000b",
	ResourceID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"}

// Each row has a resource of its own, since the library caches tokens for the process by identity and resource.
func TestAzidentity_managedIdentity(t *testing.T) {
	for _, row := range []struct {
		name    string
		host    managedidtest.Endpoint
		id      azidentity.ManagedIDKind
		request string
		user    bool // the token is the user-assigned identity's
	}{
		{"system-assigned", managedidtest.AppService, nil, "GET /msi/token", false},
		{"client ID", managedidtest.AppService, azidentity.ClientID(user.ClientID), "GET /msi/token client_id=" + user.ClientID, true},
		{"object ID", managedidtest.AppService, azidentity.ObjectID(user.ObjectID), "GET /msi/token object_id=" + user.ObjectID, true},
		{"resource ID", managedidtest.AppService, azidentity.ResourceID(user.ResourceID), "GET /msi/token mi_res_id=" + user.ResourceID, true},
		{"the user", managedidtest.CloudShell, nil, "POST /oauth2/token", false},
		{"the default", managedidtest.AzureML, nil, "GET /msi/auth", false},
		{"client ID", managedidtest.AzureML, azidentity.ClientID(user.ClientID), "GET /msi/auth clientid=" + user.ClientID, true},
	} {
		for _, sockets := range []bool{true, false} {
			name := row.name + " at " + string(row.host)
			if !sockets {
				name += ", without sockets"
			}
			t.Run(name, func(t *testing.T) {
				s := managedidtest.NewServer(&managedidtest.Options{UserAssigned: []managedidtest.Identity{user}})
				t.Cleanup(s.Close)
				s.Setenv(t, row.host)
				var o azcore.ClientOptions
				if !sockets {
					o.Transport = s.Emulator
				}
				c, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: o, ID: row.id})
				require.NoError(t, err)
				resource := "https://" + t.Name()
				got, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
				require.NoError(t, err)
				claims, err := managedidtest.VerifyToken(t.Context(), s.Client(), s.JWKSURL(), got.Token, resource)
				require.NoError(t, err)
				require.Equal(t, claims.Expires.Unix(), got.ExpiresOn.Unix())
				require.Equal(t, row.user, claims.ObjectID == user.ObjectID)
				r := s.Requests()[0]
				require.Equal(t, claims.ClientID, r.Identity)
				require.Equal(t, resource, r.Resource)
				require.Equal(t, 200, r.Status)
				sent := r.Method + " " + r.Path
				for _, selector := range []string{"client_id", "clientid", "object_id", "mi_res_id", "msi_res_id"} {
					if v := r.Query.Get(selector); v != "" && row.id != nil {
						sent += " " + selector + "=" + v
					}
				}
				require.Equal(t, row.request, sent)
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
