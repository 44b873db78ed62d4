package managedid

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// arcWith makes a credential whose key files are in a directory of the test's.
func arcWith(t *testing.T, o azcore.ClientOptions, dir string, id ManagedIDKind, logger *slog.Logger) *ManagedIdentityCredential {
	t.Helper()
	endpoint, err := url.Parse("http://localhost:40342/metadata/identity/oauth2/token")
	require.NoError(t, err)
	s := arcSource(id, endpoint, keysIn(dir))
	managed(s)
	c, err := newCredential(nameManagedIdentity, s, o, NewTokenCache(nil), logger)
	require.NoError(t, err)
	return &ManagedIdentityCredential{c}
}

// newArc makes an emulator and a credential for it.
func newArc(t *testing.T, id ManagedIDKind, o managedidtest.Options) (*managedidtest.Emulator, *ManagedIdentityCredential, string) {
	t.Helper()
	o.KeyDir = t.TempDir()
	em := managedidtest.New(&o)
	return em, arcWith(t, azcore.ClientOptions{Transport: em}, o.KeyDir, id, nil), o.KeyDir
}

func TestArc_requestsOfEachIdentity(t *testing.T) {
	user := managedidtest.Identity{ClientID: someGUID, ObjectID: "0b4ff0a1-0000-4000-8000-00000000000b", ResourceID: someResource}
	const escaped = "%2Fsubscriptions%2Fs%2FresourceGroups%2Fg%2Fproviders%2FMicrosoft.ManagedIdentity%2FuserAssignedIdentities%2Fn"
	for _, row := range []struct {
		name, query string
		id          ManagedIDKind
	}{
		{"system-assigned", "api-version=2020-06-01", nil},
		{"client ID", "api-version=2020-06-01&client_id=" + someGUID, ClientID(someGUID)},
		{"object ID", "api-version=2020-06-01&object_id=" + user.ObjectID, ObjectID(user.ObjectID)},
		{"resource ID", "api-version=2020-06-01&msi_res_id=" + escaped, ResourceID(someResource)},
	} {
		t.Run(row.name, func(t *testing.T) {
			var sent []*http.Request
			dir := t.TempDir()
			em := managedidtest.New(&managedidtest.Options{UserAssigned: []managedidtest.Identity{user}, KeyDir: dir})
			o := azcore.ClientOptions{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
				sent = append(sent, r)
				return em.Do(r)
			})}
			c := arcWith(t, o, dir, row.id, nil)
			for range 2 {
				require.NoError(t, get(ctx0, c, vault).err)
			}
			require.Len(t, sent, 2, "the second token is from the cache")
			for i, r := range sent {
				require.Equal(t, http.MethodGet, r.Method)
				require.Equal(t, "http://localhost:40342/metadata/identity/oauth2/token?"+row.query+"&resource=https%3A%2F%2Fvault.azure.net", r.URL.String())
				require.Equal(t, []string{"true"}, r.Header.Values("Metadata"))
				require.Equal(t, i == 1, strings.HasPrefix(r.Header.Get("Authorization"), "Basic "))
				require.Nil(t, r.Body)
			}
			want := em.SystemAssigned().ClientID
			if row.id != nil {
				want = someGUID
			}
			require.Equal(t, want, em.Requests()[1].Identity)
		})
	}
}

func TestArc_aTokenWithoutAChallengeIsRefused(t *testing.T) {
	em, c, _ := newArc(t, nil, managedidtest.Options{})
	em.Inject(managedidtest.Fault{Endpoint: managedidtest.Arc, Status: 200, Body: tokenBody("x", time.Now().Add(time.Hour))})
	err := get(ctx0, c, vault).err
	require.Equal(t, ReasonMalformedAnswer, asCredentialError(t, err))
	require.Contains(t, err.Error(), "without asking for a key")
	require.Nil(t, err.(*AuthenticationFailedError).RawResponse)
	require.Len(t, em.Requests(), 1)
}

func TestArc_retriesEachRequest(t *testing.T) {
	for _, row := range []struct {
		name              string
		pass, status, got int // requests that pass before, the answer from then on, requests in all
		reason            Reason
	}{
		{"the first fails", 0, 500, 6, ReasonNotReady},
		{"the second fails", 1, 503, 7, ReasonNotReady},
		{"the first is 404", 0, 404, 1, ""},
		{"the second is 404", 1, 404, 2, ""},
		{"the second is 401", 1, 401, 2, ReasonRejectedCredential},
		{"the second is 403", 1, 403, 2, ""},
		{"the first is 302", 0, 302, 1, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				em, c, _ := newArc(t, nil, managedidtest.Options{})
				if row.pass > 0 {
					em.Inject(managedidtest.Fault{Endpoint: managedidtest.Arc, Count: row.pass})
				}
				em.Inject(managedidtest.Fault{Endpoint: managedidtest.Arc, Status: row.status, Body: "x"})
				require.Equal(t, row.reason, asCredentialError(t, get(ctx0, c, vault).err))
				require.Len(t, em.Requests(), row.got)
			})
		})
	}
	bubble(t, func(t *testing.T) {
		em, c, _ := newArc(t, nil, managedidtest.Options{})
		em.Inject(managedidtest.Fault{Endpoint: managedidtest.Arc, Count: 1})
		em.Inject(managedidtest.Fault{Endpoint: managedidtest.Arc, Count: 1, Cut: 30})
		require.NoError(t, get(ctx0, c, vault).err, "a key that was spent for a lost answer is not the agent's last word")
		require.Len(t, em.Requests(), 5)
	})
	bubble(t, func(t *testing.T) {
		em, c, _ := newArc(t, nil, managedidtest.Options{})
		second(em, 500, "x")
		require.NoError(t, get(ctx0, c, vault).err, "the key outlives a fault of the agent's")
		require.Len(t, em.Requests(), 3)
		em.Inject(managedidtest.Fault{Endpoint: managedidtest.Arc, Refused: true, For: 3 * time.Second})
		require.NoError(t, get(ctx0, c, "https://storage.azure.com/.default").err, "an agent that restarts is waited for")
	})
}

func TestNewManagedIdentityCredential_findsTheArcAgent(t *testing.T) {
	if _, err := localArcSource(nil); err != nil {
		t.Skip(err)
	}
	const agents = "http://127.0.0.1:40342/metadata/identity/oauth2/token"
	for _, row := range []struct {
		name      string
		variables []string
		want      string
	}{
		{"by the variables", []string{"IDENTITY_ENDPOINT=http://localhost:1/x", "IMDS_ENDPOINT=http://localhost:1"}, "http://localhost:1/x"},
		{"without", nil, agents},
		{"not by that of App Service", []string{"IDENTITY_ENDPOINT=http://localhost:1/x"}, agents},
	} {
		t.Run(row.name, func(t *testing.T) {
			blankEnvironment(t)
			setenv(t, row.variables...)
			c := credentialWith(t, &ManagedIdentityCredentialOptions{Source: SourceAzureArc})
			require.Equal(t, row.want, c.source.endpoint)
		})
	}
	blankEnvironment(t)
	setenv(t, "IDENTITY_ENDPOINT=localhost:40342", "IMDS_ENDPOINT=http://localhost:40342")
	_, err := NewManagedIdentityCredential(nil)
	requireError(t, err, "ManagedIdentityCredential: IDENTITY_ENDPOINT is not an http or https URL")
	setenv(t, "IDENTITY_ENDPOINT=", "AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127.0.0.1:40342")
	cache := NewTokenCache(nil)
	arc := credentialWith(t, &ManagedIdentityCredentialOptions{Source: SourceAzureArc, Cache: cache})
	imds := credentialWith(t, &ManagedIdentityCredentialOptions{Source: SourceIMDS, Cache: cache})
	require.NotSame(t, arc.tokens, imds.tokens, "what one has not confirmed never reaches the other")
}
