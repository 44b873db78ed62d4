package main

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
)

const aTenant, aClient = "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"

var rivals = []string{ours, theirs}

// party is a library's credential at an endpoint.
type party struct{ library, host string }

// credential makes one as a new process would: with a cache of its own. azidentity's managed identities share one in
// any case, so that scopes must not be used twice.
func (p party) credential(via http.RoundTripper) azcore.TokenCredential {
	if p.host == entra {
		return application{p.library, aTenant, "secret"}.credential(via, managedid.NewTokenCache(nil))
	}
	var c azcore.TokenCredential
	var err error
	o := azcore.ClientOptions{Transport: &http.Client{Transport: via}, Cloud: cloud.AzurePublic}
	switch p.library {
	case ours:
		c, err = managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{
			ClientOptions: o, Cache: managedid.NewTokenCache(nil)})
	case theirs:
		c, err = azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: o})
	default:
		err = fmt.Errorf("there is no library %q", p.library)
	}
	if err != nil {
		panic(err)
	}
	return c
}

// application has a client secret.
type application struct{ library, tenant, secret string }

// credential makes one that may be asked for tokens of any tenant. azidentity's has a cache of its own.
func (a application) credential(via http.RoundTripper, cache *managedid.TokenCache) azcore.TokenCredential {
	o := azcore.ClientOptions{Transport: &http.Client{Transport: via}, Cloud: cloud.AzurePublic}
	any := []string{"*"}
	if a.library == ours {
		c, err := managedid.NewClientSecretCredential(a.tenant, aClient, a.secret,
			&managedid.ClientSecretCredentialOptions{ClientOptions: o, AdditionallyAllowedTenants: any, Cache: cache})
		return must(c, err)
	}
	c, err := azidentity.NewClientSecretCredential(a.tenant, aClient, a.secret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: o, AdditionallyAllowedTenants: any,
			DisableInstanceDiscovery: true})
	return inLine{must(c, err), make(chan struct{}, 1)}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// inLine waits in the place of the mutex that azidentity's client secret credential holds during its requests, since
// waiting for a mutex stops fake time. Like that one, it doesn't heed the context.
type inLine struct {
	azcore.TokenCredential
	turn chan struct{}
}

func (l inLine) GetToken(ctx context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	return l.TokenCredential.GetToken(ctx, opts)
}

// ask is one call. A panic is an error; a token that has expired too. Zero patience means no deadline.
func ask(c azcore.TokenCredential, k key, patience time.Duration) (err error) {
	ctx := context.Background()
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	return askIn(ctx, c, k)
}

func askIn(ctx context.Context, c azcore.TokenCredential, k key) error {
	got, err := tokenIn(ctx, c, k)
	if err == nil && !time.Now().Before(got.ExpiresOn) {
		return fmt.Errorf("the token has expired")
	}
	return err
}

// tokenIn is one call, whose panic is an error.
func tokenIn(ctx context.Context, c azcore.TokenCredential, k key) (got azcore.AccessToken, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return c.GetToken(ctx, k.opts)
}

// text is the token of a patient call, "" for an error.
func text(c azcore.TokenCredential, k key) string {
	got, _ := tokenIn(context.Background(), c, k)
	return got.Token
}

// persist asks without a deadline until there is a token, a second after each error, and counts these.
func persist(c azcore.TokenCredential, k key) (failed int) {
	for ask(c, k, 0) != nil {
		failed++
		time.Sleep(time.Second)
	}
	return failed
}

var keys atomic.Int64

// freshKey is a scope that no credential has been asked for.
func freshKey() key { return newKey("recovery", int(keys.Add(1))) }

func freshKeys(n int) []key {
	all := make([]key, n)
	for i := range all {
		all[i] = freshKey()
	}
	return all
}

// draws runs f n times, each in a time of its own, as many at once as there are processors.
func draws(t *testing.T, n int, f func(i int)) {
	t.Helper()
	t.Run("", func(t *testing.T) {
		managedidtest.New(nil).Setenv(t, managedidtest.IMDS)
		t.Run("", func(t *testing.T) {
			for i := range n {
				t.Run("", func(t *testing.T) {
					t.Parallel()
					measure(t, false, func(*testing.T) { f(i) })
				})
			}
		})
	})
}
