package managedid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/tokens"
)

func newAssertion(t testing.TB, f *fakeEntra, cache *TokenCache, getAssertion func(context.Context) (string, error)) *ClientAssertionCredential {
	t.Helper()
	blankEnvironment(t)
	c, err := NewClientAssertionCredential(someTenant, someClient, getAssertion, &ClientAssertionCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: f}, AdditionallyAllowedTenants: []string{"*"}, Cache: cache})
	require.NoError(t, err)
	return c
}

// counted returns the assertions "1", "2", …
func counted() func(context.Context) (string, error) {
	var calls atomic.Int32
	return func(context.Context) (string, error) { return fmt.Sprint(calls.Add(1)), nil }
}

func TestAssertion_isAskedForAtEachExchange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		c := newAssertion(t, f, nil, counted())
		for _, scope := range []string{vault, vault, "api://a/.default", vault} {
			require.NoError(t, get(ctx0, c, scope).Err)
		}
		_, err := c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: []string{vault}, TenantID: "fabrikam"})
		require.NoError(t, err)
		require.Equal(t, 3, f.Count())
		require.Equal(t, "/fabrikam/oauth2/v2.0/token", f.Sent[2].URL.Path)
		for i, form := range f.Forms {
			require.Equal(t, fmt.Sprint(i+1), form.Get("client_assertion"))
			require.Equal(t, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", form.Get("client_assertion_type"))
			require.Equal(t, someClient, form.Get("client_id"))
		}
	})
}

func TestAssertion_runsUnderTheFlightsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		type key struct{}
		f := &fakeEntra{}
		c := newAssertion(t, f, nil, func(ctx context.Context) (string, error) {
			deadline, ok := ctx.Deadline()
			require.True(t, ok)
			require.Equal(t, tokens.FlightLimit, time.Until(deadline))
			require.Nil(t, ctx.Value(key{}), "a caller's values are not safe to use once it has left")
			time.Sleep(time.Minute)
			return "a.b.c", ctx.Err()
		})
		ctx, cancel := context.WithTimeout(context.WithValue(ctx0, key{}, 1), time.Second)
		defer cancel()
		r := get(ctx, c, vault)
		require.ErrorIs(t, r.Err, context.DeadlineExceeded)
		require.Equal(t, time.Second, r.Took)
		r = get(ctx0, c, vault)
		require.NoError(t, r.Err, "it went on for the next caller")
		require.Equal(t, 59*time.Second, r.Took)
		require.Equal(t, 1, f.Count())
	})
}

func TestAssertion_failures(t *testing.T) {
	const failed = "ClientAssertionCredential: Entra: getAssertion failed: "
	const crashed = "ClientAssertionCredential: Entra: getAssertion panicked, or ended its goroutine; the log record \"panic\" has the stack"
	at := time.Now()
	for _, row := range []struct {
		name   string
		f      func(context.Context) (string, error)
		want   string
		reason Reason
	}{
		{"an error", func(context.Context) (string, error) { return "a.b.c", errors.New("no\n  token\there") }, failed + "no token here", ""},
		{"a long one", func(context.Context) (string, error) { return "", errors.New(strings.Repeat("x", 1000)) }, failed + strings.Repeat("x", 400) + "…", ""},
		{"one of a context", func(context.Context) (string, error) { return "", context.DeadlineExceeded }, failed + "context deadline exceeded", ""},
		{"nothing", func(context.Context) (string, error) { return "", nil }, failed + "it returned an empty assertion", ""},
		{"a panic", func(context.Context) (string, error) { panic("at\nthe disco") }, crashed, ReasonPanic},
		{"a panic of the runtime", func(ctx context.Context) (string, error) { return strings.Split("", "")[len("x")], ctx.Err() }, crashed, ReasonPanic},
		{"nothing in an error's place", func(context.Context) (string, error) { return "", (*CredentialUnavailableError)(nil) }, failed + "the credential is unavailable", ""},
		{"nothing in another error's place", func(context.Context) (string, error) { return "", (*AuthenticationFailedError)(nil) }, failed + "authentication failed", ""},
		{"another credential's", func(context.Context) (string, error) {
			return "", fmt.Errorf("identity: %w", &AuthenticationFailedError{Reason: ReasonThrottled, RetryAfter: at, message: "IMDS is throttling"})
		}, failed + "identity: IMDS is throttling", ReasonThrottled},
		{"the end of its goroutine", func(context.Context) (string, error) { runtime.Goexit(); return "", nil }, crashed, ReasonPanic},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := &fakeEntra{}
				c := newAssertion(t, f, nil, row.f)
				for _, r := range getAll(ctx0, c, vault, vault, vault) {
					requireError(t, r.Err, row.want)
					require.Equal(t, row.reason, asCredentialError(t, r.Err))
					require.IsType(t, &AuthenticationFailedError{}, r.Err)
					notOfAContext(t, r.Err)
					require.Zero(t, r.Took, "nobody hangs")
					if row.reason == ReasonThrottled {
						require.Equal(t, at, r.Err.(*AuthenticationFailedError).RetryAfter)
					}
				}
				require.Zero(t, f.Count())
			})
		})
	}
}

func TestAssertion_thatNeverComesKeepsNobodyForEver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		end := make(chan struct{})
		c := newAssertion(t, &fakeEntra{}, nil, func(context.Context) (string, error) { <-end; return "a.b.c", nil })
		r := get(ctx0, c, vault)
		require.Equal(t, ReasonNotReady, asCredentialError(t, r.Err))
		require.Equal(t, tokens.FlightLimit, r.Took)
		close(end)
	})
}

// What is unavailable to getAssertion is so to a chain.
func TestAssertion_unavailable(t *testing.T) {
	f := &fakeEntra{}
	c := newAssertion(t, f, nil, func(context.Context) (string, error) {
		return "", &CredentialUnavailableError{Reason: ReasonAbsent, message: "no IMDS"}
	})
	err := get(ctx0, c, vault).Err
	requireError(t, err, "ClientAssertionCredential: Entra: getAssertion failed: no IMDS")
	require.IsType(t, &CredentialUnavailableError{}, err)
	require.Equal(t, ReasonAbsent, asCredentialError(t, err))
	chain, err := NewChainedTokenCredential([]azcore.TokenCredential{c, newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})}, nil)
	require.NoError(t, err)
	require.NoError(t, get(ctx0, chain, vault).Err)
	for _, own := range []azcore.TokenCredential{c, newCertificate(t, f, someTenant, ClientCertificateCredentialOptions{})} {
		require.NotNil(t, newLink(own, true).credential, "its hits need no detour")
	}
}

func TestAssertion_expiredIsAskedForOnceMore(t *testing.T) {
	const advice = "the assertion is outside its validity: getAssertion has to return one that is in force, and the clocks to agree"
	for _, row := range []struct {
		name string
		f    func() func(context.Context) (string, error)
		good string // is accepted
		sent []string
		err  string
	}{
		{"a new one", counted, "2", []string{"1", "2"}, ""},
		{"a new one that is no better", counted, "", []string{"1", "2"}, advice},
		{"the same", func() func(context.Context) (string, error) {
			return func(context.Context) (string, error) { return "x", nil }
		}, "", []string{"x"}, advice},
		{"none", func() func(context.Context) (string, error) {
			next := counted()
			return func(ctx context.Context) (string, error) {
				if a, _ := next(ctx); a == "1" {
					return a, nil
				}
				return "", errors.New("no more")
			}
		}, "", []string{"1"}, advice},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := &fakeEntra{}
			f.Script = func(n int, r *http.Request) (*http.Response, error) {
				if f.Forms[n].Get("client_assertion") == row.good {
					return nil, nil
				}
				return respond(r, 401, entraError(700024, "invalid_client", "Client assertion is not within its valid time range.")), nil
			}
			err := get(ctx0, newAssertion(t, f, nil, row.f()), vault).Err
			if row.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, row.err)
				require.Equal(t, ReasonRejectedCredential, asCredentialError(t, err))
			}
			var sent []string
			for _, form := range f.Forms {
				sent = append(sent, form.Get("client_assertion"))
			}
			require.Equal(t, row.sent, sent)
		})
	}
}

// Functions can't be compared: each credential has tokens of its own, in whatever cache.
func TestAssertion_twoCredentialsShareNoToken(t *testing.T) {
	for name, cache := range map[string]*TokenCache{"a cache of both": NewTokenCache(nil), "no cache": nil} {
		t.Run(name, func(t *testing.T) {
			f, getAssertion := &fakeEntra{}, counted()
			tokens := map[string]bool{}
			for range 2 {
				c := newAssertion(t, f, cache, getAssertion)
				var all sync.WaitGroup
				for range 10 {
					all.Go(func() { require.NoError(t, get(ctx0, c, vault).Err) })
				}
				all.Wait()
				tokens[get(ctx0, c, vault).Token.Token] = true
			}
			require.Len(t, tokens, 2)
			require.Equal(t, 2, f.Count())
		})
	}
	for range 2 { // without options of its own either
		c, err := NewClientAssertionCredential(someTenant, someClient, counted(), nil)
		require.NoError(t, err)
		processCache.mu.Lock()
		require.NotContains(t, processCache.sets.m, c.source.key)
		processCache.mu.Unlock()
	}
}

func TestAssertion_constructorRefusesWhatCannotWork(t *testing.T) {
	blankEnvironment(t)
	for _, row := range []struct {
		tenant, client string
		f              func(context.Context) (string, error)
		want           string
	}{
		{"t", "c", nil, "getAssertion must not be nil"},
		{"", "c", counted(), "the tenant ID, from the options or AZURE_TENANT_ID, is not valid: it has at most 253 letters, digits, dots and hyphens only"},
		{"t", "", counted(), "the client ID is empty"},
	} {
		c, err := NewClientAssertionCredential(row.tenant, row.client, row.f, nil)
		requireError(t, err, "ClientAssertionCredential: "+row.want)
		require.Nil(t, c)
	}
}
