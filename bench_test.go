package managedid

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"
)

// hitFixture returns the two ways to a cached token, each with n tokens in its cache, and the scope to ask for.
func hitFixture(tb testing.TB, n int) (direct, chained azcore.TokenCredential, opts policy.TokenRequestOptions) {
	blankEnvironment(tb)
	tb.Setenv("IDENTITY_ENDPOINT", "http://localhost/token") // which has no limits
	tb.Setenv("IDENTITY_HEADER", "header")
	options := azcore.ClientOptions{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
		return respond(r, 200, tokenBody(r.URL.Query().Get("resource"), time.Now().Add(24*time.Hour)), "Server", "IMDS/1"), nil
	})}
	cache := NewTokenCache(nil)
	direct, err := NewManagedIdentityCredential(&ManagedIdentityCredentialOptions{ClientOptions: options, Cache: cache})
	require.NoError(tb, err)
	chained, err = NewDefaultAzureCredential(&DefaultAzureCredentialOptions{ClientOptions: options, Cache: cache})
	require.NoError(tb, err)
	for i := range n {
		opts = policy.TokenRequestOptions{Scopes: []string{hitScope(i)}}
		_, err := direct.GetToken(context.Background(), opts)
		require.NoError(tb, err)
	}
	_, err = chained.GetToken(context.Background(), opts)
	require.NoError(tb, err)
	return direct, chained, opts
}

func hitScope(i int) string { return "https://resource-" + strconv.Itoa(i) + ".example/.default" }

// floor is the least that a cache can cost: one look at the clock and one at a map.
type floor struct {
	tokens map[string]azcore.AccessToken
}

func (f floor) GetToken(_ context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	t := f.tokens[opts.Scopes[0]]
	if !time.Now().Before(t.ExpiresOn) {
		return azcore.AccessToken{}, context.DeadlineExceeded
	}
	return t, nil
}

func BenchmarkHit(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		direct, chained, opts := hitFixture(b, n)
		tokens := map[string]azcore.AccessToken{}
		for i := range n {
			scope := hitScope(i)
			tokens[scope] = direct.(*ManagedIdentityCredential).tokens.Hit(scope, time.Now()).AccessToken
		}
		for _, way := range []struct {
			name string
			cred azcore.TokenCredential
		}{{"floor", floor{tokens}}, {"direct", direct}, {"chain", chained}} {
			ctx := context.Background()
			b.Run(fmt.Sprintf("tokens=%d/%s/serial", n, way.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_, _ = way.cred.GetToken(ctx, opts)
				}
			})
			b.Run(fmt.Sprintf("tokens=%d/%s/parallel", n, way.name), func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						_, _ = way.cred.GetToken(ctx, opts)
					}
				})
			})
		}
	}
}

func TestHit_allocatesNothing(t *testing.T) {
	direct, chained, opts := hitFixture(t, 100)
	for name, cred := range map[string]azcore.TokenCredential{"direct": direct, "chain": chained} {
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			if _, err := cred.GetToken(context.Background(), opts); err != nil {
				panic(err)
			}
		}), name)
	}
}

// entraHits are an Entra credential with cached tokens, and the requests that hit them.
func entraHits(tb testing.TB) (azcore.TokenCredential, map[string]policy.TokenRequestOptions) {
	c := newSecret(tb, &fakeEntra{}, someTenant, someClient, someSecret, ClientSecretCredentialOptions{AdditionallyAllowedTenants: []string{"fabrikam"}})
	requests := map[string]policy.TokenRequestOptions{
		"plain":        {Scopes: []string{vault}},
		"CAE":          {Scopes: []string{vault}, EnableCAE: true}, // as BearerTokenPolicy asks
		"tenant":       {Scopes: []string{vault}, EnableCAE: true, TenantID: someTenant},
		"other tenant": {Scopes: []string{vault}, TenantID: "fabrikam"},
	}
	for _, opts := range requests {
		_, err := c.GetToken(context.Background(), opts)
		require.NoError(tb, err)
	}
	return c, requests
}

func BenchmarkHitEntra(b *testing.B) {
	c, requests := entraHits(b)
	for name, opts := range requests {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			ctx := context.Background()
			for b.Loop() {
				_, _ = c.GetToken(ctx, opts)
			}
		})
	}
}

func TestHit_ofEntraAllocatesNothing(t *testing.T) {
	c, requests := entraHits(t)
	for name, opts := range requests {
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			if _, err := c.GetToken(context.Background(), opts); err != nil {
				panic(err)
			}
		}), name)
	}
}
