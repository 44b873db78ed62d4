package managedid

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"
)

const (
	someTenant = "contoso.onmicrosoft.com"
	someClient = "5f2ad7a1-6b0c-4f7e-9a53-8f1f6a6f0c11"
	someSecret = "p8~s3cr3t/+ &=ü%"
)

// fakeEntra is a Transporter without sockets that answers as Entra does, for bubbles. Each token is another.
type fakeEntra struct {
	script script

	mu    sync.Mutex
	began time.Time       // guarded by mu, as is the rest
	sent  []*http.Request // without bodies
	forms []url.Values
	at    []time.Duration // when each request came
}

func (f *fakeEntra) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	if len(f.sent) == 0 {
		f.began = time.Now()
	}
	n := len(f.sent)
	f.sent, f.forms, f.at = append(f.sent, r), append(f.forms, form), append(f.at, time.Since(f.began))
	f.mu.Unlock()
	if f.script != nil {
		if resp, err := f.script(n, r); resp != nil || err != nil {
			return resp, err
		}
	}
	return entraToken(r, n), nil
}

// form is that of the n-th request, for scripts.
func (f *fakeEntra) form(n int) url.Values {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.forms[n]
}

func (f *fakeEntra) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sent)
}

func entraToken(r *http.Request, n int) *http.Response {
	return respond(r, 200, fmt.Sprintf(`{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"%s-%d"}`, secretToken, n))
}

// entraError is an answer as Entra gives it, with what differs each time.
func entraError(code int, kind, text string) string {
	id := time.Now().UnixNano()
	description := fmt.Sprintf("AADSTS%d: %s Trace ID: %x Correlation ID: %x Timestamp: %s", code, text, id, id, time.Now().Format(time.RFC3339))
	body, _ := json.Marshal(map[string]any{"error": kind, "error_description": description, "error_codes": []int{code},
		"timestamp": time.Now().Format("2006-01-02 15:04:05Z"), "trace_id": fmt.Sprint(id), "correlation_id": fmt.Sprint(id),
		"error_uri": fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", code)})
	return string(body)
}

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
			require.Equal(t, 1, f.count())
			r := f.sent[0]
			require.Equal(t, "POST https://login.microsoftonline.com/"+someTenant+"/oauth2/v2.0/token", r.Method+" "+r.URL.String())
			require.Equal(t, "application/x-www-form-urlencoded; charset=utf-8", r.Header.Get("Content-Type"))
			require.Equal(t, "application/json", r.Header.Get("Accept"))
			want := url.Values{"grant_type": {"client_credentials"}, "client_id": {someClient}, "client_secret": {someSecret}, "scope": {row.scope}}
			if row.claims != nil {
				want["claims"] = row.claims
			}
			require.True(t, want.Encode() == f.forms[0].Encode())
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
			got, err := requestClaims(ask{claims: row.claims, cae: row.cae})
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
		f := &fakeEntra{script: func(int, *http.Request) (*http.Response, error) { return nil, errRefused }}
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
		err := get(ctx0, c, vault).err
		requireGaveUp(t, err, "ClientSecretCredential: Entra: no token from login.microsoftonline.com: dial: connection refused")
		require.Equal(t, ReasonNotReady, asCredentialError(t, err))
		require.Equal(t, 4, f.count())

		ctx, cancel := context.WithTimeout(ctx0, time.Second)
		defer cancel()
		r := get(ctx, c, vault)
		require.ErrorIs(t, r.err, context.DeadlineExceeded)
		require.Equal(t, time.Second, r.took)
	})
}

func TestEntra_retryAfterClosesTheGateOfOneApplication(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		f.script = func(n int, r *http.Request) (*http.Response, error) {
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
			all.Go(func() { requireJittered(t, 70*time.Second, get(ctx0, c, vault).took) })
		}
		time.Sleep(time.Second)
		require.Zero(t, get(ctx0, otherApplication, vault).took)
		require.Zero(t, get(ctx0, otherTenant, vault).took)
		ctx, cancel := context.WithTimeout(ctx0, time.Minute)
		defer cancel()
		r := get(ctx, sameApplication, "api://another/.default")
		require.Equal(t, ReasonThrottled, asCredentialError(t, r.err))
		require.Zero(t, r.took)
		requireJittered(t, 70*time.Second, r.err.(*AuthenticationFailedError).RetryAfter.Sub(f.began))
		all.Wait()
		require.Equal(t, 4, f.count())
	})
}

func TestEntra_retryAfterOfAServerErrorIsHonoured(t *testing.T) {
	for _, status := range []int{500, 502, 503, 504} {
		bubble(t, func(t *testing.T) {
			f := &fakeEntra{script: func(n int, r *http.Request) (*http.Response, error) {
				if n == 0 {
					return respond(r, status, "", "Retry-After", "80"), nil
				}
				return nil, nil
			}}
			r := get(ctx0, newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{}), vault)
			require.NoError(t, r.err)
			requireJittered(t, 80*time.Second, r.took)
		})
	}
}

func TestEntra_aHugeFirstAnswerIsMalformed(t *testing.T) {
	f := &fakeEntra{script: answerWith(200, strings.Repeat(" ", maxBody+1))}
	err := get(ctx0, newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{}), vault).err
	requireError(t, err, "ClientSecretCredential: Entra: the answer is larger than 1 MiB")
	require.Equal(t, ReasonMalformedAnswer, asCredentialError(t, err))
	require.Equal(t, 1, f.count())
}

func TestEntra_aThousandCallersCold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{script: func(_ int, r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Second) }}
		cache := NewTokenCache(nil)
		var all sync.WaitGroup
		for range 10 {
			c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{Cache: cache})
			for range 100 {
				all.Go(func() { require.NoError(t, get(ctx0, c, vault).err) })
			}
		}
		all.Wait()
		require.Equal(t, 1, f.count())
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
	require.Zero(t, f.count())
}
