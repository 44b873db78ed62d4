package managedid

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/answer"
)

func newSecret(t testing.TB, f *fakeEntra, tenant, client, secret string, o ClientSecretCredentialOptions) *ClientSecretCredential {
	t.Helper()
	blankEnvironment(t)
	if o.Transport == nil {
		o.Transport = f
	}
	c, err := NewClientSecretCredential(tenant, client, secret, &o)
	require.NoError(t, err)
	return c
}

func TestEntra_request(t *testing.T) {
	const cp1 = `{"access_token":{"xms_cc":{"values":["CP1"]}}}`
	const challenge = `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`
	for _, row := range []struct {
		name   string
		opts   policy.TokenRequestOptions
		scope  string
		claims []string
	}{
		{"a scope", policy.TokenRequestOptions{Scopes: []string{vault}}, vault, nil},
		{"a resource that ends with a slash", policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com//.default"}}, "https://management.azure.com//.default", nil},
		{"scopes", policy.TokenRequestOptions{Scopes: []string{"api://a/.default", "b"}}, "api://a/.default b", nil},
		{"CAE", policy.TokenRequestOptions{Scopes: []string{vault}, EnableCAE: true}, vault, []string{cp1}},
		{"claims", policy.TokenRequestOptions{Scopes: []string{vault}, Claims: challenge}, vault, []string{challenge}},
		{"claims and CAE", policy.TokenRequestOptions{Scopes: []string{vault}, Claims: challenge, EnableCAE: true}, vault,
			[]string{`{"access_token":{"nbf":{"essential":true,"value":"1"},"xms_cc":{"values":["CP1"]}}}`}},
		{"the tenant, in other letters", policy.TokenRequestOptions{Scopes: []string{vault}, TenantID: strings.ToUpper(someTenant)}, vault, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := &fakeEntra{}
			_, err := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{}).GetToken(ctx0, row.opts)
			require.NoError(t, err)
			require.Equal(t, 1, f.Count())
			r := f.Sent[0]
			require.Equal(t, "POST https://login.microsoftonline.com/"+someTenant+"/oauth2/v2.0/token", r.Method+" "+r.URL.String())
			require.Equal(t, "application/x-www-form-urlencoded; charset=utf-8", r.Header.Get("Content-Type"))
			require.Equal(t, "application/json", r.Header.Get("Accept"))
			want := url.Values{"grant_type": {"client_credentials"}, "client_id": {someClient}, "client_secret": {someSecret}, "scope": {row.scope}}
			if row.claims != nil {
				want["claims"] = row.claims
			}
			require.True(t, want.Encode() == f.Forms[0].Encode())
		})
	}
}

func TestEntra_claimsAreMerged(t *testing.T) {
	const notObject = "the Claims of the request are not the JSON object of a claims challenge"
	for _, row := range []struct {
		name, claims string
		cae          bool
		want, err    string
	}{
		{"nothing", "", false, "", ""},
		{"an object as it is", `{ "a": 1e400 }`, false, `{ "a": 1e400 }`, ""},
		{"other members stay", `{"id_token":{"acr":null},"access_token":{"acrs":{"value":"c1"}}}`, true,
			`{"access_token":{"acrs":{"value":"c1"},"xms_cc":{"values":["CP1"]}},"id_token":{"acr":null}}`, ""},
		{"an xms_cc of the challenge", `{"access_token":{"xms_cc":{"essential":true}}}`, true, `{"access_token":{"xms_cc":{"essential":true,"values":["CP1"]}}}`, ""},
		{"large numbers", `{"n":12345678901234567890}`, true, `{"access_token":{"xms_cc":{"values":["CP1"]}},"n":12345678901234567890}`, ""},
		{"no JSON", "x", false, "", notObject},
		{"no JSON, CAE", "x", true, "", notObject},
		{"an array", "[]", false, "", notObject},
		{"null", "null", false, "", notObject},
		{"null, CAE", "null", true, "", notObject},
		{"an access_token that is none", `{"access_token":"x"}`, true, "", notObject},
		{"a null access_token", `{"access_token":null}`, true, "", notObject},
		{"an xms_cc that is none", `{"access_token":{"xms_cc":[]}}`, true, "", notObject},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := requestClaims(tokenParams{claims: row.claims, cae: row.cae})
			if row.err != "" {
				requireError(t, err, row.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, row.want, got)
		})
	}
}

func TestEntra_outOfReach(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{Script: func(int, *http.Request) (*http.Response, error) { return nil, errRefused }}
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
		err := get(ctx0, c, vault).Err
		requireGaveUp(t, err, "ClientSecretCredential: Entra: no token from login.microsoftonline.com: dial: connection refused")
		require.Equal(t, ReasonNotReady, asCredentialError(t, err))
		require.Equal(t, 4, f.Count())

		ctx, cancel := context.WithTimeout(ctx0, time.Second)
		defer cancel()
		r := get(ctx, c, vault)
		require.ErrorIs(t, r.Err, context.DeadlineExceeded)
		require.Equal(t, time.Second, r.Took)
	})
}

func TestEntra_retryAfterClosesTheGateOfOneApplication(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		f.Script = func(n int, r *http.Request) (*http.Response, error) {
			if n == 0 {
				return respond(r, 429, entraError(90055, "invalid_request", "x"), "Retry-After", "70"), nil
			}
			return nil, nil
		}
		cache := NewTokenCache(nil)
		o := ClientSecretCredentialOptions{Cache: cache}
		c := newSecret(t, f, someTenant, someClient, someSecret, o)
		sameApplication := newSecret(t, f, strings.ToUpper(someTenant), strings.ToUpper(someClient), "another", o)
		otherApplication := newSecret(t, f, someTenant, "another", someSecret, o)
		otherTenant := newSecret(t, f, "fabrikam", someClient, someSecret, o)

		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { requireJittered(t, 70*time.Second, get(ctx0, c, vault).Took) })
		}
		time.Sleep(time.Second)
		require.Zero(t, get(ctx0, otherApplication, vault).Took)
		require.Zero(t, get(ctx0, otherTenant, vault).Took)
		ctx, cancel := context.WithTimeout(ctx0, time.Minute)
		defer cancel()
		r := get(ctx, sameApplication, "api://another/.default")
		require.Equal(t, ReasonThrottled, asCredentialError(t, r.Err))
		require.Zero(t, r.Took)
		requireJittered(t, 70*time.Second, r.Err.(*AuthenticationFailedError).RetryAfter.Sub(f.Began))
		all.Wait()
		require.Equal(t, 4, f.Count())
	})
}

func TestEntra_retryAfterOfAServerErrorIsHonoured(t *testing.T) {
	for _, status := range []int{500, 502, 503, 504} {
		bubble(t, func(t *testing.T) {
			f := &fakeEntra{Script: func(n int, r *http.Request) (*http.Response, error) {
				if n == 0 {
					return respond(r, status, "", "Retry-After", "80"), nil
				}
				return nil, nil
			}}
			r := get(ctx0, newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{}), vault)
			require.NoError(t, r.Err)
			requireJittered(t, 80*time.Second, r.Took)
		})
	}
}

func TestEntra_aHugeFirstAnswerIsMalformed(t *testing.T) {
	f := &fakeEntra{Script: answerWith(200, strings.Repeat(" ", answer.MaxBody+1))}
	err := get(ctx0, newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{}), vault).Err
	requireError(t, err, "ClientSecretCredential: Entra: the answer is larger than 1 MiB")
	require.Equal(t, ReasonMalformedAnswer, asCredentialError(t, err))
	require.Equal(t, 1, f.Count())
}

func TestEntra_aThousandCallersCold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{Script: func(_ int, r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Second) }}
		cache := NewTokenCache(nil)
		var all sync.WaitGroup
		for range 10 {
			c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{Cache: cache})
			for range 100 {
				all.Go(func() { require.NoError(t, get(ctx0, c, vault).Err) })
			}
		}
		all.Wait()
		require.Equal(t, 1, f.Count())
	})
}

func TestEntra_constructorsRefuseWhatCannotWork(t *testing.T) {
	blankEnvironment(t)
	const illegal = "ClientSecretCredential: the tenant ID, from the options or AZURE_TENANT_ID, is not valid: it has at most 253 letters, digits, dots and hyphens only"
	for _, row := range []struct{ name, tenant, client, secret, want string }{
		{"no tenant", "", "c", "s", illegal},
		{"a path", "a/b", "c", "s", illegal},
		{"a path upward", "..", "c", "s", illegal},
		{"an escape", "a%2fb", "c", "s", illegal},
		{"a query", "a?b", "c", "s", illegal},
		{"a line", "a\n", "c", "s", illegal},
		{"a letter beyond ASCII", "contöso", "c", "s", illegal},
		{"no client", "t", "", "s", "ClientSecretCredential: the client ID is empty"},
		{"no secret", "t", "c", "", "ClientSecretCredential: the client secret is empty"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := NewClientSecretCredential(row.tenant, row.client, row.secret, nil)
			requireError(t, err, row.want)
			require.Nil(t, c)
		})
	}
	_, err := NewClientSecretCredential("t", "c", "s", &ClientSecretCredentialOptions{ClientOptions: azcore.ClientOptions{}})
	require.NoError(t, err)
}

func TestEntra_scopes(t *testing.T) {
	f := &fakeEntra{}
	c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
	for _, scopes := range [][]string{nil, {}, {""}, {vault, ""}} {
		_, err := c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: scopes})
		requireError(t, err, "ClientSecretCredential: Entra: GetToken needs at least one scope, and none that is empty; one has the form https://vault.azure.net/.default")
		require.Equal(t, ReasonInvalidScope, asCredentialError(t, err))
	}
	require.Zero(t, f.Count())
}
