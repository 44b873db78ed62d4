package managedid

import (
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

func newServer(t *testing.T, host managedidtest.Endpoint, o *managedidtest.Options) *managedidtest.Server {
	checkGoroutines(t)
	s := managedidtest.NewServer(o)
	t.Cleanup(s.Close)
	s.Setenv(t, host)
	return s
}

func TestEmulator_thousandGoroutinesAndTwoCredentialsCostOneRequest(t *testing.T) {
	for host, alone := range map[managedidtest.Endpoint]func(azcore.ClientOptions, *TokenCache) (azcore.TokenCredential, error){
		managedidtest.IMDS: func(o azcore.ClientOptions, cache *TokenCache) (azcore.TokenCredential, error) {
			return NewManagedIdentityCredential(&ManagedIdentityCredentialOptions{ClientOptions: o, Cache: cache})
		},
		managedidtest.AppService: func(azcore.ClientOptions, *TokenCache) (azcore.TokenCredential, error) {
			return NewManagedIdentityCredential(nil) // has no other client than the chain, so that the process's cache does
		},
		managedidtest.EntraSecret: func(o azcore.ClientOptions, cache *TokenCache) (azcore.TokenCredential, error) {
			return NewEnvironmentCredential(&EnvironmentCredentialOptions{ClientOptions: o, Cache: cache})
		},
		managedidtest.Workload: func(o azcore.ClientOptions, cache *TokenCache) (azcore.TokenCredential, error) {
			return NewWorkloadIdentityCredential(&WorkloadIdentityCredentialOptions{ClientOptions: o, Cache: cache})
		},
	} {
		t.Run(string(host), func(t *testing.T) {
			s := newServer(t, host, nil)
			// without retries no second request goes out beside the first, should that be slow
			o, cache := azcore.ClientOptions{Transport: s.Client(), Retry: policy.RetryOptions{MaxRetries: -1}}, NewTokenCache(nil)
			if host == managedidtest.AppService {
				o, cache = azcore.ClientOptions{}, nil
			}
			for range 2 {
				c := newDefault(t, DefaultAzureCredentialOptions{ClientOptions: o, Cache: cache})
				for _, r := range getAll(ctx0, c, slices.Repeat([]string{vault}, 1000)...) {
					require.NoError(t, r.err)
				}
			}
			c, err := alone(o, cache)
			require.NoError(t, err)
			require.NoError(t, get(ctx0, c, vault).err)
			require.Len(t, s.Requests(), 1)
		})
	}
}

func TestEmulator_hundredResourcesTimesTwentyCallersKeepWithinIMDSsLimits(t *testing.T) {
	s := newServer(t, managedidtest.IMDS, nil)
	c, err := NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	for _, r := range getAll(ctx0, c, slices.Repeat(scopes(100), 20)...) {
		require.NoError(t, r.err)
	}
	requireAll200(t, s.Requests(), 100)
}

func TestEmulator_theSameWithoutSocketsInFakeTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		em := managedidtest.New(nil)
		em.Setenv(t, managedidtest.IMDS)
		c, err := NewDefaultAzureCredential(&DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}})
		require.NoError(t, err)
		for range 3 {
			for _, r := range getAll(ctx0, c, slices.Repeat(scopes(100), 20)...) {
				require.NoError(t, r.err)
			}
			time.Sleep(2 * time.Hour)
		}
		requireAll200(t, em.Requests(), 300)
	})
}

func requireAll200(t *testing.T, requests []managedidtest.Request, n int) {
	t.Helper()
	require.Len(t, requests, n)
	for _, r := range requests {
		require.Equal(t, 200, r.Status)
	}
}

func TestEmulator_identitiesByEachKindOfID(t *testing.T) {
	user := managedidtest.Identity{ClientID: "0b4ff0a1-0000-4000-8000-00000000000c", ObjectID: "0b4ff0a1-0000-4000-8000-00000000000b",
		ResourceID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"}
	for _, host := range []managedidtest.Endpoint{managedidtest.IMDS, managedidtest.AppService} {
		s := newServer(t, host, &managedidtest.Options{UserAssigned: []managedidtest.Identity{user}})
		for _, row := range []struct {
			id   ManagedIDKind
			want managedidtest.Identity
		}{{nil, s.SystemAssigned()}, {ClientID(user.ClientID), user}, {ObjectID(user.ObjectID), user}, {ResourceID(user.ResourceID), user}} {
			c, err := NewManagedIdentityCredential(&ManagedIdentityCredentialOptions{ID: row.id})
			require.NoError(t, err)
			r := get(ctx0, c, vault)
			require.NoError(t, r.err)
			claims, err := managedidtest.VerifyToken(ctx0, nil, s.JWKSURL(), r.token.Token, "https://vault.azure.net")
			require.NoError(t, err)
			require.Equal(t, row.want.ObjectID, claims.ObjectID)
		}
		http.DefaultClient.CloseIdleConnections()
		unknown, err := NewManagedIdentityCredential(&ManagedIdentityCredentialOptions{ID: ClientID("unknown")})
		require.NoError(t, err)
		r := get(ctx0, unknown, vault)
		require.Equal(t, ReasonIdentityNotFound, asCredentialError(t, r.err))
		require.IsType(t, &AuthenticationFailedError{}, r.err)
		t.Log(r.err)
	}
}

func TestVector4And5_noIdentityIsFinalWhereOneWasAskedForAndElseUnavailable(t *testing.T) {
	newServer(t, managedidtest.IMDS, &managedidtest.Options{NoSystemAssigned: true})
	c, err := NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	err = get(ctx0, c, vault).err
	require.IsType(t, &CredentialUnavailableError{}, err)
	require.Contains(t, err.Error(), "no managed identity is assigned to this host")
	c, err = NewDefaultAzureCredential(&DefaultAzureCredentialOptions{ManagedIdentityClientID: "x"})
	require.NoError(t, err)
	err = get(ctx0, c, vault).err
	require.IsType(t, &AuthenticationFailedError{}, err)
	require.Contains(t, err.Error(), `client ID (not an ID, so not shown)`)
}

func TestEmulator_severalIdentitiesAreAmbiguous(t *testing.T) {
	newServer(t, managedidtest.IMDS, &managedidtest.Options{NoSystemAssigned: true, UserAssigned: make([]managedidtest.Identity, 2)})
	c, err := NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	err = get(ctx0, c, vault).err
	require.Equal(t, ReasonAmbiguousIdentity, asCredentialError(t, err))
	require.Contains(t, err.Error(), "AZURE_CLIENT_ID")
}

func TestEmulator_appServiceSecretIsReadForEachRequest(t *testing.T) {
	s := newServer(t, managedidtest.AppService, nil)
	c, err := NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	require.NoError(t, get(ctx0, c, vault).err)
	s.RotateSecret()
	err = get(ctx0, c, "https://storage.azure.com/.default").err
	require.Equal(t, ReasonRejectedCredential, asCredentialError(t, err))
	require.Contains(t, err.Error(), "IDENTITY_HEADER")
	s.Setenv(t, managedidtest.AppService)
	require.NoError(t, get(ctx0, c, "https://graph.microsoft.com/.default").err)
}

func TestEmulator_anAzureSDKsPipelineCallsAnAPIThatVerifiesTheToken(t *testing.T) {
	s := newServer(t, managedidtest.IMDS, nil)
	api := s.NewResource("https://vault.azure.net", nil)
	defer api.Close()
	c, err := NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	for _, row := range []struct {
		scope  string
		status int
	}{{vault, 200}, {"https://storage.azure.com/.default", 401}} {
		bearer := runtime.NewBearerTokenPolicy(c, []string{row.scope}, nil)
		pipeline := runtime.NewPipeline("test", "v0.0.0", runtime.PipelineOptions{PerRetry: []policy.Policy{bearer}},
			&policy.ClientOptions{Transport: s.Client()})
		for range 3 {
			req, err := runtime.NewRequest(ctx0, http.MethodGet, api.URL)
			require.NoError(t, err)
			resp, err := pipeline.Do(req)
			require.NoError(t, err)
			_, _ = io.Copy(io.Discard, resp.Body)
			require.Equal(t, row.status, resp.StatusCode)
		}
	}
	s.Client().CloseIdleConnections()
}

func TestEmulator_outageAndThrottlingAtTheEndpoint(t *testing.T) {
	bubble(t, func(t *testing.T) {
		em := managedidtest.New(nil)
		em.Setenv(t, managedidtest.IMDS)
		c, err := NewDefaultAzureCredential(&DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}})
		require.NoError(t, err)
		first := get(ctx0, c, vault)
		require.NoError(t, first.err)
		em.Inject(managedidtest.Fault{Endpoint: managedidtest.IMDS, For: 59*time.Minute + 30*time.Second, Refused: true})
		for time.Until(first.token.ExpiresOn) > time.Minute {
			require.True(t, first.token.Token == get(ctx0, c, vault).token.Token)
			time.Sleep(10 * time.Second)
		}
		time.Sleep(time.Minute)
		second := get(ctx0, c, vault)
		require.NoError(t, second.err)
		require.False(t, first.token.Token == second.token.Token)
	})
}
