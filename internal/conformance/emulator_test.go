package conformance

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

	"github.com/managedid/managedid"
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
	for host, alone := range map[managedidtest.Endpoint]func(azcore.ClientOptions, *managedid.TokenCache) (azcore.TokenCredential, error){
		managedidtest.IMDS: func(o azcore.ClientOptions, cache *managedid.TokenCache) (azcore.TokenCredential, error) {
			return managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ClientOptions: o, Cache: cache})
		},
		managedidtest.AppService: func(azcore.ClientOptions, *managedid.TokenCache) (azcore.TokenCredential, error) {
			return managedid.NewManagedIdentityCredential(nil) // has no other client than the chain, so that the process's cache does
		},
		managedidtest.EntraSecret: func(o azcore.ClientOptions, cache *managedid.TokenCache) (azcore.TokenCredential, error) {
			return managedid.NewEnvironmentCredential(&managedid.EnvironmentCredentialOptions{ClientOptions: o, Cache: cache})
		},
		managedidtest.Workload: func(o azcore.ClientOptions, cache *managedid.TokenCache) (azcore.TokenCredential, error) {
			return managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{ClientOptions: o, Cache: cache})
		},
	} {
		t.Run(string(host), func(t *testing.T) {
			s := newServer(t, host, nil)
			// without retries no second request goes out beside the first, should that be slow
			o, cache := azcore.ClientOptions{Transport: s.Client(), Retry: policy.RetryOptions{MaxRetries: -1}}, managedid.NewTokenCache(nil)
			if host == managedidtest.AppService {
				o, cache = azcore.ClientOptions{}, nil
			}
			for range 2 {
				c := newDefault(t, managedid.DefaultAzureCredentialOptions{ClientOptions: o, Cache: cache})
				for _, r := range getAll(ctx0, c, slices.Repeat([]string{vault}, 1000)...) {
					require.NoError(t, r.Err)
				}
			}
			c, err := alone(o, cache)
			require.NoError(t, err)
			require.NoError(t, get(ctx0, c, vault).Err)
			require.Len(t, s.Requests(), 1)
		})
	}
}

func TestEmulator_hundredResourcesTimesTwentyCallersKeepWithinIMDSsLimits(t *testing.T) {
	s := newServer(t, managedidtest.IMDS, nil)
	c, err := managedid.NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	for _, r := range getAll(ctx0, c, slices.Repeat(scopes(100), 20)...) {
		require.NoError(t, r.Err)
	}
	requireAll200(t, s.Requests(), 100)
}

func TestEmulator_theSameWithoutSocketsInFakeTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		em := managedidtest.New(nil)
		em.Setenv(t, managedidtest.IMDS)
		c, err := managedid.NewDefaultAzureCredential(&managedid.DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}})
		require.NoError(t, err)
		for range 3 {
			for _, r := range getAll(ctx0, c, slices.Repeat(scopes(100), 20)...) {
				require.NoError(t, r.Err)
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
			id   managedid.ManagedIDKind
			want managedidtest.Identity
		}{{nil, s.SystemAssigned()}, {managedid.ClientID(user.ClientID), user}, {managedid.ObjectID(user.ObjectID), user}, {managedid.ResourceID(user.ResourceID), user}} {
			c, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ID: row.id})
			require.NoError(t, err)
			r := get(ctx0, c, vault)
			require.NoError(t, r.Err)
			claims, err := managedidtest.VerifyToken(ctx0, nil, s.JWKSURL(), r.Token.Token, "https://vault.azure.net")
			require.NoError(t, err)
			require.Equal(t, row.want.ObjectID, claims.ObjectID)
		}
		http.DefaultClient.CloseIdleConnections()
		unknown, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ID: managedid.ClientID("unknown")})
		require.NoError(t, err)
		r := get(ctx0, unknown, vault)
		require.Equal(t, managedid.ReasonIdentityNotFound, asCredentialError(t, r.Err))
		require.IsType(t, &managedid.AuthenticationFailedError{}, r.Err)
		t.Log(r.Err)
	}
}

func TestVector4And5_noIdentityIsFinalWhereOneWasAskedForAndElseUnavailable(t *testing.T) {
	newServer(t, managedidtest.IMDS, &managedidtest.Options{NoSystemAssigned: true})
	c, err := managedid.NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	err = get(ctx0, c, vault).Err
	require.IsType(t, &managedid.CredentialUnavailableError{}, err)
	require.Contains(t, err.Error(), "no managed identity is assigned to this host")
	c, err = managedid.NewDefaultAzureCredential(&managedid.DefaultAzureCredentialOptions{ManagedIdentityClientID: "x"})
	require.NoError(t, err)
	err = get(ctx0, c, vault).Err
	require.IsType(t, &managedid.AuthenticationFailedError{}, err)
	require.Contains(t, err.Error(), `client ID (not an ID, so not shown)`)
}

func TestEmulator_severalIdentitiesAreAmbiguous(t *testing.T) {
	newServer(t, managedidtest.IMDS, &managedidtest.Options{NoSystemAssigned: true, UserAssigned: make([]managedidtest.Identity, 2)})
	c, err := managedid.NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	err = get(ctx0, c, vault).Err
	require.Equal(t, managedid.ReasonAmbiguousIdentity, asCredentialError(t, err))
	require.Contains(t, err.Error(), "AZURE_CLIENT_ID")
}

func TestEmulator_appServiceSecretIsReadForEachRequest(t *testing.T) {
	s := newServer(t, managedidtest.AppService, nil)
	c, err := managedid.NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	require.NoError(t, get(ctx0, c, vault).Err)
	s.RotateSecret()
	err = get(ctx0, c, "https://storage.azure.com/.default").Err
	require.Equal(t, managedid.ReasonRejectedCredential, asCredentialError(t, err))
	require.Contains(t, err.Error(), "IDENTITY_HEADER")
	s.Setenv(t, managedidtest.AppService)
	require.NoError(t, get(ctx0, c, "https://graph.microsoft.com/.default").Err)
}

func TestEmulator_anAzureSDKsPipelineCallsAnAPIThatVerifiesTheToken(t *testing.T) {
	s := newServer(t, managedidtest.IMDS, nil)
	api := s.NewResource("https://vault.azure.net", nil)
	defer api.Close()
	c, err := managedid.NewDefaultAzureCredential(nil)
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
		c, err := managedid.NewDefaultAzureCredential(&managedid.DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}})
		require.NoError(t, err)
		first := get(ctx0, c, vault)
		require.NoError(t, first.Err)
		em.Inject(managedidtest.Fault{Endpoint: managedidtest.IMDS, For: 59*time.Minute + 30*time.Second, Refused: true})
		for time.Until(first.Token.ExpiresOn) > time.Minute {
			require.True(t, first.Token.Token == get(ctx0, c, vault).Token.Token)
			time.Sleep(10 * time.Second)
		}
		time.Sleep(time.Minute)
		second := get(ctx0, c, vault)
		require.NoError(t, second.Err)
		require.False(t, first.Token.Token == second.Token.Token)
	})
}

func TestEmulator_cloudShellAzureMLAndOldAppService(t *testing.T) {
	for _, row := range []struct {
		host    managedidtest.Endpoint
		source  managedid.Source
		windows bool
		ids     []managedid.ManagedIDKind
		fault   managedidtest.Endpoint
	}{
		{managedidtest.CloudShell, "", false, []managedid.ManagedIDKind{nil}, managedidtest.CloudShell},
		{managedidtest.AzureML, "", false, []managedid.ManagedIDKind{nil, managedid.ClientID(someGUID)}, managedidtest.AzureML},
		{managedidtest.AppService2017, managedid.SourceAppService, false, []managedid.ManagedIDKind{nil, managedid.ClientID(someGUID)}, managedidtest.AppService},
		{managedidtest.AppService2017, managedid.SourceAppService, true, []managedid.ManagedIDKind{nil, managedid.ClientID(someGUID)}, managedidtest.AppService},
		{managedidtest.AppService2017, "", false, []managedid.ManagedIDKind{nil, managedid.ClientID(someGUID)}, managedidtest.AppService}, // taken for Azure ML
	} {
		t.Run(string(row.host)+" as "+string(row.source), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				em := managedidtest.New(&managedidtest.Options{WindowsDates: row.windows, UserAssigned: []managedidtest.Identity{{ClientID: someGUID}}})
				em.Setenv(t, row.host)
				for _, id := range row.ids {
					em.Inject(managedidtest.Fault{Endpoint: row.fault, Count: 1, Status: 503})
					c := credentialWith(t, &managedid.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}, Source: row.source, ID: id})
					r := get(ctx0, c, vault)
					require.NoError(t, r.Err)
					require.Equal(t, time.Hour, time.Until(r.Token.ExpiresOn).Round(time.Minute))
					log := em.Requests()
					require.Len(t, log, 2)
					require.Equal(t, log[0].Form, log[1].Form)
					switch {
					case id != nil:
						require.Equal(t, someGUID, log[1].Identity)
					case row.host != managedidtest.CloudShell:
						require.Equal(t, em.SystemAssigned().ClientID, log[1].Identity)
					}
					em = managedidtest.New(&managedidtest.Options{WindowsDates: row.windows, UserAssigned: em.UserAssigned()})
					em.Setenv(t, row.host)
				}
			})
		})
	}
}

func TestEmulator_aSecretThatWasRotatedAndAnIdentityThatIsNotThere(t *testing.T) {
	for host, want := range map[managedidtest.Endpoint]string{
		managedidtest.AzureML:        "MSI_SECRET was refused; restart the job if the platform has changed it (403 Forbidden)",
		managedidtest.AppService2017: "MSI_SECRET was refused; restart the app if the platform has changed it (403 Forbidden)",
	} {
		em := managedidtest.New(nil)
		em.Setenv(t, host)
		o := managedid.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}, ID: managedid.ClientID(someGUID)}
		if host == managedidtest.AppService2017 {
			o.Source = managedid.SourceAppService
		}
		c := credentialWith(t, &o)
		require.ErrorContains(t, get(ctx0, c, vault).Err, noneWithID)
		em.RotateSecret()
		require.ErrorContains(t, get(ctx0, c, "https://a.example").Err, want)
	}
}
