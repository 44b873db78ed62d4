package conformance

import (
	"context"
	"fmt"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
)

// state is what a link of the default chain meets.
type state string

const (
	unconfigured state = "unconfigured"
	half         state = "half"
	configured   state = "configured"
	refusing     state = "refusing"
)

var states = []state{unconfigured, half, configured, refusing}

// host is an emulator with the environment of the three states. It says what the first link that isn't unconfigured
// has to bring: the grant of a token, or an error.
func host(t *testing.T, env, workload, managed state) (em *managedidtest.Emulator, grant, problem string) {
	em = managedidtest.New(nil)
	application := em.Applications()[0]
	file, err := em.NewTokenFile(t.TempDir(), nil)
	require.NoError(t, err)
	em.Setenv(t) // blank

	if env == configured || env == refusing || workload == configured || workload == refusing {
		t.Setenv("AZURE_CLIENT_ID", application.ClientID)
	}
	if env == configured || env == refusing { // workload identity has its tenant from the options
		t.Setenv("AZURE_TENANT_ID", em.TenantID())
	}
	switch env {
	case half, configured:
		t.Setenv("AZURE_CLIENT_SECRET", application.Secrets[0].Value)
	case refusing:
		t.Setenv("AZURE_CLIENT_SECRET", "wrong")
	}
	if workload != unconfigured {
		t.Setenv("AZURE_FEDERATED_TOKEN_FILE", file.Path)
	}
	if workload == refusing {
		require.NoError(t, file.Write("not.a.token"))
	}
	switch managed {
	case unconfigured:
		em.Inject(managedidtest.Fault{Endpoint: managedidtest.IMDS, Refused: true})
	case half:
		setenv(t, "IDENTITY_ENDPOINT=localhost", "IDENTITY_HEADER=h")
	case refusing:
		setenv(t, "IDENTITY_ENDPOINT=http://localhost/msi/token", "IDENTITY_HEADER=wrong")
	}

	noTenant := "AZURE_TENANT_ID"
	if workload != configured && workload != refusing {
		noTenant += " and AZURE_CLIENT_ID"
	}
	switch {
	case env == half:
		return em, "", "EnvironmentCredential: AZURE_CLIENT_SECRET is set, but not " + noTenant + skip
	case env == configured:
		return em, "client_secret", ""
	case env == refusing:
		return em, "client_secret", "EnvironmentCredential: Entra: the client secret is wrong; it has to be the secret's value, not its ID (401"
	case workload == half:
		return em, "", "WorkloadIdentityCredential: AZURE_FEDERATED_TOKEN_FILE is set, but not AZURE_CLIENT_ID" + skip
	case workload == configured:
		return em, "client_assertion", ""
	case workload == refusing:
		return em, "client_assertion", "WorkloadIdentityCredential: Entra: the request was refused "
	case managed == half:
		return em, "", "ManagedIdentityCredential: IDENTITY_ENDPOINT is not an http or https URL" + skip
	case managed == configured:
		return em, "managed identity", ""
	case managed == refusing:
		return em, "managed identity", "ManagedIdentityCredential: App Service: IDENTITY_HEADER was refused"
	}
	return em, "", "DefaultAzureCredential: no credential is available: ManagedIdentityCredential: IMDS: not found at 169.254.169.254"
}

// Every combination of the three links. The first that is not unconfigured decides: its token, or its error.
func TestDefault_everyCombinationOfItsLinks(t *testing.T) {
	for _, env := range states {
		for _, workload := range states {
			for _, managed := range states {
				if workload == half && (env == configured || env == refusing) {
					continue // AZURE_CLIENT_ID is set for the one and not for the other: there's no such environment
				}
				t.Run(fmt.Sprintf("environment %s, workload identity %s, managed identity %s", env, workload, managed), func(t *testing.T) {
					em, grant, problem := host(t, env, workload, managed)
					c := newDefault(t, managedid.DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}, TenantID: em.TenantID()})
					r := get(ctx0, c, vault)
					if problem == "" {
						require.NoError(t, r.Err)
					} else {
						asCredentialError(t, r.Err)
						require.Contains(t, r.Err.Error(), problem)
						_, unavailable := r.Err.(*managedid.CredentialUnavailableError)
						require.Equal(t, env == unconfigured && workload == unconfigured && managed == unconfigured, unavailable)
					}
					requests := em.Requests()
					if grant == "" {
						require.Empty(t, requests)
						return
					}
					require.Len(t, requests, 1)
					identity := em.Applications()[0].ClientID
					if grant == "managed identity" {
						identity = em.SystemAssigned().ClientID
						require.NotEqual(t, managedidtest.Entra, requests[0].Endpoint)
					} else {
						require.Equal(t, managedidtest.Entra, requests[0].Endpoint)
						require.True(t, requests[0].Form.Has(grant))
					}
					if problem == "" {
						require.Equal(t, identity, requests[0].Identity)
					}
				})
			}
		}
	}
}

func TestDefault_aWrongSecretIsRefusedByEntraNeverServedFromTheCache(t *testing.T) {
	em := managedidtest.New(nil)
	cache := managedid.NewTokenCache(nil)
	credential := func() *managedid.DefaultAzureCredential {
		return newDefault(t, managedid.DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}, Cache: cache})
	}
	em.Setenv(t, managedidtest.EntraSecret)
	right := credential()
	require.NoError(t, get(ctx0, right, vault).Err)
	t.Setenv("AZURE_CLIENT_SECRET", "wrong")
	for range 2 {
		require.Equal(t, managedid.ReasonRejectedCredential, asCredentialError(t, get(ctx0, credential(), vault).Err))
	}
	require.NoError(t, get(ctx0, right, vault).Err)
	em.Setenv(t, managedidtest.EntraSecret)
	require.NoError(t, get(ctx0, credential(), vault).Err)
	require.Len(t, em.Requests(), 2)
	require.Equal(t, 401, em.Requests()[1].Status)
}

// inTenant is a credential of one's own that embeds ours: what it overrides holds in a chain too.
type inTenant struct {
	*managedid.ClientSecretCredential
	tenant string
}

func (c inTenant) GetToken(ctx context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	opts.TenantID = c.tenant
	return c.ClientSecretCredential.GetToken(ctx, opts)
}

func TestChained_asksACredentialThatEmbedsOurs(t *testing.T) {
	for links := range 2 {
		f := &fakeEntra{}
		home := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{AdditionallyAllowedTenants: []string{"fabrikam"}})
		require.NoError(t, get(ctx0, home, vault).Err)
		sources := []azcore.TokenCredential{&inTenant{home, "fabrikam"}}
		for range links {
			sources = append(sources, home)
		}
		chain, err := managedid.NewChainedTokenCredential(sources, nil)
		require.NoError(t, err)
		for range 2 {
			require.NoError(t, get(ctx0, chain, vault).Err)
		}
		require.Equal(t, 2, f.Count())
		require.Equal(t, "/fabrikam/oauth2/v2.0/token", f.Sent[1].URL.Path)
	}
}
