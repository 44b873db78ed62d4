package interop

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
)

// The tests TestDiffers show what docs/azidentity.md says of both packages.

// via are the options of a client that has the emulator for its network.
func via(em *managedidtest.Emulator) azcore.ClientOptions {
	return azcore.ClientOptions{Transport: em, Retry: policy.RetryOptions{MaxRetries: -1}}
}

// must makes a function of a constructor's result.
func must[C azcore.TokenCredential](t *testing.T) func(C, error) azcore.TokenCredential {
	return func(c C, err error) azcore.TokenCredential {
		t.Helper()
		require.NoError(t, err)
		return c
	}
}

// tokenOf asks for a resource's.
func tokenOf(t *testing.T, c azcore.TokenCredential, resource string) (string, error) {
	t.Helper()
	got, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
	return got.Token, err
}

func defaults(t *testing.T, em *managedidtest.Emulator) (theirs, ours azcore.TokenCredential) {
	t.Helper()
	return must[*azidentity.DefaultAzureCredential](t)(azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: via(em)})),
		must[*managedid.DefaultAzureCredential](t)(managedid.NewDefaultAzureCredential(&managedid.DefaultAzureCredentialOptions{ClientOptions: via(em)}))
}

func manageds(t *testing.T, o azcore.ClientOptions) (theirs, ours azcore.TokenCredential) {
	t.Helper()
	return must[*azidentity.ManagedIdentityCredential](t)(azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: o})),
		must[*managedid.ManagedIdentityCredential](t)(managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ClientOptions: o}))
}

func bySecret(t *testing.T, em *managedidtest.Emulator, secret string, cache *managedid.TokenCache) (theirs, ours azcore.TokenCredential) {
	t.Helper()
	id := em.Applications()[0].ClientID
	return must[*azidentity.ClientSecretCredential](t)(azidentity.NewClientSecretCredential(em.TenantID(), id, secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: via(em)})),
		must[*managedid.ClientSecretCredential](t)(managedid.NewClientSecretCredential(em.TenantID(), id, secret, &managedid.ClientSecretCredentialOptions{ClientOptions: via(em), Cache: cache}))
}

func TestDiffers_noToolRunsUnlessAskedFor(t *testing.T) {
	em := managedidtest.New(nil)
	em.Setenv(t)
	em.Inject(managedidtest.Fault{Endpoint: managedidtest.IMDS, Refused: true})
	tool("az", `{"accessToken":"a.b.c","expires_on":4102444800}`)(t, nil)
	theirs, ours := defaults(t, em)
	got, err := tokenOf(t, theirs, vault)
	require.NoError(t, err)
	require.True(t, got == "a.b.c")
	_, err = tokenOf(t, ours, vault)
	require.ErrorContains(t, err, "to use a developer's sign-in, set AZURE_TOKEN_CREDENTIALS=dev")

	t.Setenv("AZURE_TOKEN_CREDENTIALS", "dev")
	_, ours = defaults(t, em)
	got, err = tokenOf(t, ours, vault)
	require.NoError(t, err)
	require.True(t, got == "a.b.c")
}

func TestDiffers_aLinkConfiguredByHalfIsAnError(t *testing.T) {
	em := managedidtest.New(nil)
	em.Setenv(t, managedidtest.AppService)
	t.Setenv("AZURE_CLIENT_SECRET", "secret")
	theirs, ours := defaults(t, em)
	_, err := tokenOf(t, theirs, newResource())
	require.NoError(t, err)
	_, err = tokenOf(t, ours, newResource())
	require.ErrorContains(t, err, "AZURE_CLIENT_SECRET is set, but not AZURE_TENANT_ID and AZURE_CLIENT_ID")
}

func TestDiffers_anEmptyVariableIsUnset(t *testing.T) {
	em := managedidtest.New(nil)
	em.Setenv(t, managedidtest.AppService)
	t.Setenv("AZURE_TOKEN_CREDENTIALS", "")
	_, err := azidentity.NewDefaultAzureCredential(nil)
	require.ErrorContains(t, err, "invalid AZURE_TOKEN_CREDENTIALS")
	c, err := managedid.NewDefaultAzureCredential(&managedid.DefaultAzureCredentialOptions{ClientOptions: via(em)})
	require.NoError(t, err)
	_, err = tokenOf(t, c, newResource())
	require.NoError(t, err)
}

func TestDiffers_passwordsAndPowerShellAreRefused(t *testing.T) {
	managedidtest.New(nil).Setenv(t)
	for name, value := range map[string]string{"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_USERNAME": "u", "AZURE_PASSWORD": "p"} {
		t.Setenv(name, value)
	}
	_, err := azidentity.NewEnvironmentCredential(nil)
	require.NoError(t, err)
	_, err = managedid.NewEnvironmentCredential(nil)
	require.ErrorContains(t, err, "signing in with a password is not supported")

	t.Setenv("AZURE_TOKEN_CREDENTIALS", "AzurePowerShellCredential")
	_, err = azidentity.NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	_, err = managedid.NewDefaultAzureCredential(nil)
	require.ErrorContains(t, err, "not supported; sign in with az or azd")
}

func TestDiffers_noDiscoveryIsRequested(t *testing.T) {
	em := managedidtest.New(nil)
	em.Setenv(t)
	theirs, ours := bySecret(t, em, em.Applications()[0].Secrets[0].Value, nil)
	for _, tt := range []struct {
		c        azcore.TokenCredential
		requests int
		scope    string
	}{{theirs, 3, vault + "/.default openid offline_access profile"}, {ours, 1, vault + "/.default"}} {
		before := len(em.Requests())
		_, err := tokenOf(t, tt.c, vault)
		require.NoError(t, err)
		sent := em.Requests()[before:]
		require.Len(t, sent, tt.requests)
		require.Equal(t, tt.scope, sent[len(sent)-1].Form.Get("scope"))
	}
}

func TestDiffers_callersShareOneRequest(t *testing.T) {
	managedidtest.New(nil).Setenv(t, managedidtest.AppService)
	for name, want := range map[string]int{"azidentity": 20, "managedid": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				em := managedidtest.New(nil)
				t.Setenv("IDENTITY_HEADER", em.Environ(managedidtest.AppService)["IDENTITY_HEADER"])
				em.Inject(managedidtest.Fault{Delay: time.Second})
				c, ours := manageds(t, via(em))
				if name == "managedid" {
					c = ours
				}
				resource := newResource()
				var callers sync.WaitGroup
				for range 20 {
					callers.Go(func() { _, _ = tokenOf(t, c, resource) })
				}
				callers.Wait()
				require.Len(t, em.Requests(), want)
			})
		})
	}
}

func TestDiffers_aTokenIsHandedOutUntilItsExpiry(t *testing.T) {
	em := managedidtest.New(&managedidtest.Options{TokenLifetime: 4 * time.Minute})
	em.Setenv(t, managedidtest.AppService)
	theirs, ours := manageds(t, via(em))
	for c, want := range map[azcore.TokenCredential]int{theirs: 3, ours: 1} {
		before, resource := len(em.Requests()), newResource()
		for range 3 {
			_, err := tokenOf(t, c, resource)
			require.NoError(t, err)
		}
		require.Len(t, em.Requests(), before+want)
		em.Inject(managedidtest.Fault{Refused: true})
		_, err := tokenOf(t, c, resource)
		require.Equal(t, c == theirs, err != nil)
		em.ClearFaults()
	}
}

func TestDiffers_whoSharesTokens(t *testing.T) {
	one, other := managedidtest.New(nil), managedidtest.New(nil)
	one.Setenv(t, managedidtest.CloudShell)
	resource := newResource()
	var got [2][2]string
	for i, em := range []*managedidtest.Emulator{one, other} {
		theirs, ours := manageds(t, via(em))
		for j, c := range []azcore.TokenCredential{theirs, ours} {
			var err error
			got[j][i], err = tokenOf(t, c, resource)
			require.NoError(t, err)
		}
	}
	require.True(t, got[0][0] == got[0][1], "azidentity has one cache of managed identities' tokens, whatever the Transport")
	require.True(t, got[1][0] != got[1][1])

	em, cache := managedidtest.New(nil), managedid.NewTokenCache(nil)
	for _, want := range [2]int{3 + 1, 3 + 0} {
		before := len(em.Requests())
		theirs, ours := bySecret(t, em, em.Applications()[0].Secrets[0].Value, cache)
		for _, c := range []azcore.TokenCredential{theirs, ours} {
			_, err := tokenOf(t, c, vault)
			require.NoError(t, err)
		}
		require.Len(t, em.Requests(), before+want)
	}
}

func TestDiffers_toolsRunOnceForAToken(t *testing.T) {
	for name, want := range map[string]int{"azidentity": 2, "managedid": 1} {
		t.Run(name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log")
			tool("az", `{"accessToken":"a.b.c","expires_on":4102444800}'; echo run >>"`+log+`"; : '`)(t, nil)
			var c azcore.TokenCredential = must[*azidentity.AzureCLICredential](t)(azidentity.NewAzureCLICredential(nil))
			if name == "managedid" {
				c = must[*managedid.AzureCLICredential](t)(managedid.NewAzureCLICredential(&managedid.AzureCLICredentialOptions{Cache: managedid.NewTokenCache(nil)}))
			}
			for range 2 {
				_, err := tokenOf(t, c, vault)
				require.NoError(t, err)
			}
			runs, err := os.ReadFile(log)
			require.NoError(t, err)
			require.Equal(t, want, strings.Count(string(runs), "run"))
		})
	}
}

func TestDiffers_redirectsAreNotFollowed(t *testing.T) {
	em := managedidtest.New(nil)
	em.Setenv(t, managedidtest.AppService)
	theirs, ours := manageds(t, azcore.ClientOptions{Transport: &http.Client{Transport: em}, Retry: policy.RetryOptions{MaxRetries: -1}})
	for c, want := range map[azcore.TokenCredential]int{theirs: 2, ours: 1} {
		before := len(em.Requests())
		em.Inject(managedidtest.Fault{Count: 1, Status: http.StatusFound, Header: http.Header{"Location": {"http://other.example/"}}})
		_, err := tokenOf(t, c, newResource())
		require.Error(t, err)
		sent := em.Requests()[before:]
		require.Len(t, sent, want)
		require.True(t, sent[len(sent)-1].Header.Get("X-Identity-Header") != "", "the secret goes where the request goes")
	}
}

func TestDiffers_anEndedContextIsFoundInTheError(t *testing.T) {
	em := managedidtest.New(nil)
	em.Setenv(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	theirs, ours := bySecret(t, em, "secret", nil)
	for c, want := range map[azcore.TokenCredential]bool{theirs: false, ours: true} {
		_, err := c.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{vault + "/.default"}})
		require.Error(t, err)
		require.Equal(t, want, isCanceled(err))
	}
}
