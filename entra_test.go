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
				require.EqualError(t, err, row.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, row.want, got)
		})
	}
}

func TestEntra_errorsByTheirCode(t *testing.T) {
	const unknown = "the resource is unknown in the tenant, or the scope has not the form RESOURCE/.default"
	const federated = "no federated credential of the application has the assertion's issuer, subject and audience; add or correct one, which takes some minutes to work"
	const noApplication = "tenant contoso.onmicrosoft.com has no application with client ID \"" + someClient + "\"; correct AZURE_CLIENT_ID or AZURE_TENANT_ID, or the options"
	const noTenant = "tenant contoso.onmicrosoft.com doesn't exist; correct AZURE_TENANT_ID or the options"
	for _, row := range []struct {
		status int
		kind   string
		code   int
		reason Reason
		advice string
	}{
		{401, "invalid_client", 7000215, ReasonRejectedCredential, "the client secret is wrong; it has to be the secret's value, not its ID"},
		{401, "invalid_client", 7000222, ReasonRejectedCredential, "the client secret has expired; make a new one"},
		{401, "invalid_client", 700024, ReasonRejectedCredential, "the assertion is outside its validity"},
		{400, "invalid_request", 70021, ReasonRejectedCredential, federated},
		{401, "invalid_client", 700211, ReasonRejectedCredential, federated},
		{400, "invalid_request", 700212, ReasonRejectedCredential, federated},
		{401, "invalid_client", 700213, ReasonRejectedCredential, federated},
		{401, "invalid_client", 7002121, ReasonRejectedCredential, federated},
		{401, "invalid_client", 7002137, ReasonRejectedCredential, federated},
		{401, "invalid_client", 7002138, ReasonRejectedCredential, federated},
		{400, "invalid_request", 90061, ReasonRejectedCredential, "Entra can't reach the assertion's issuer, whose discovery document and keys must be public"},
		{401, "invalid_client", 700027, ReasonRejectedCredential, "Entra refused what proves the application's identity"},
		{400, "unauthorized_client", 700016, ReasonIdentityNotFound, noApplication},
		{400, "invalid_request", 90002, ReasonIdentityNotFound, noTenant},
		{400, "invalid_request", 900023, ReasonIdentityNotFound, noTenant},
		{400, "invalid_resource", 500011, ReasonInvalidScope, unknown},
		{400, "invalid_scope", 70011, ReasonInvalidScope, unknown},
		{400, "invalid_scope", 1002012, ReasonInvalidScope, unknown},
		{400, "invalid_grant", 50196, "", "Entra has seen the application ask again and again; share a TokenCache between its credentials"},
		{400, "interaction_required", 50076, "", "Entra refused the request"},
	} {
		t.Run(fmt.Sprint(row.code), func(t *testing.T) {
			f := &fakeEntra{script: func(_ int, r *http.Request) (*http.Response, error) {
				return respond(r, row.status, entraError(row.code, row.kind, "What it says.")), nil
			}}
			err := get(ctx0, newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{}), vault).err
			require.EqualError(t, err, fmt.Sprintf("ClientSecretCredential: Entra: %s (%s, %s: AADSTS%d: What it says.)", row.advice, statusLine(row.status), row.kind, row.code))
			require.Equal(t, row.reason, asCredentialError(t, err))
			failed := err.(*AuthenticationFailedError)
			require.Equal(t, row.status, failed.RawResponse.StatusCode)
			require.Nil(t, failed.RawResponse.Request.Body)
			require.Equal(t, 1, f.count(), "no other 4xx than 429 is worth another try")
		})
	}
}

func TestEntra_textWithTimesIsCut(t *testing.T) {
	f := &fakeEntra{script: func(_ int, r *http.Request) (*http.Response, error) {
		return respond(r, 401, entraError(700024, "invalid_client", "Client assertion is not within its valid time range. Current time: 2026-01-01T00:00:00Z, assertion valid from 2025.")), nil
	}}
	err := get(ctx0, newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{}), vault).err
	require.EqualError(t, err, "ClientSecretCredential: Entra: the assertion is outside its validity (401 Unauthorized, invalid_client: AADSTS700024: Client assertion is not within its valid time range.)")
}

func TestEntra_retries(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int
		body   string
		tries  int
		reason Reason
	}{
		{"500", 500, "", 4, ReasonNotReady},
		{"503", 503, "<html>", 4, ReasonNotReady},
		{"599", 599, "", 4, ReasonNotReady},
		{"temporarily_unavailable", 400, `{"error":"temporarily_unavailable"}`, 4, ReasonNotReady},
		{"408", 408, "", 1, ""},
		{"404", 404, "", 1, ""},
		{"410", 410, "", 1, ""},
		{"302", 302, "", 1, ""},
		{"200 without a token", 200, "{}", 1, ReasonMalformedAnswer},
		{"200 in HTML", 200, "<html>", 1, ReasonMalformedAnswer},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := &fakeEntra{script: func(n int, r *http.Request) (*http.Response, error) { return respond(r, row.status, row.body), nil }}
				err := get(ctx0, newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{}), vault).err
				require.Equal(t, row.reason, asCredentialError(t, err))
				require.IsType(t, &AuthenticationFailedError{}, err, "a chain must not go on")
				require.Equal(t, row.tries, f.count())
				for _, form := range f.forms {
					require.True(t, form.Get("client_secret") == someSecret, "each try has the whole body")
				}
			})
		})
	}
}

func TestEntra_outOfReach(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{script: func(int, *http.Request) (*http.Response, error) { return nil, errRefused }}
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
		err := get(ctx0, c, vault).err
		require.EqualError(t, err, "ClientSecretCredential: Entra: no token from login.microsoftonline.com: dial: connection refused")
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
			all.Go(func() { require.Equal(t, 70*time.Second, get(ctx0, c, vault).took) })
		}
		time.Sleep(time.Second)
		require.Zero(t, get(ctx0, otherApplication, vault).took)
		require.Zero(t, get(ctx0, otherTenant, vault).took)
		ctx, cancel := context.WithTimeout(ctx0, time.Minute)
		defer cancel()
		r := get(ctx, sameApplication, "api://another/.default")
		require.Equal(t, ReasonThrottled, asCredentialError(t, r.err))
		require.Zero(t, r.took)
		require.Equal(t, f.began.Add(70*time.Second), r.err.(*AuthenticationFailedError).RetryAfter)
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
			require.Equal(t, 80*time.Second, r.took)
		})
	}
}

func TestEntra_aHugeFirstAnswerIsMalformed(t *testing.T) {
	f := &fakeEntra{script: answerWith(200, strings.Repeat(" ", maxBody+1))}
	err := get(ctx0, newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{}), vault).err
	require.EqualError(t, err, "ClientSecretCredential: Entra: the answer is larger than 1 MiB")
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
	const illegal = "ClientSecretCredential: the tenant ID is not valid: it has letters, digits, dots and hyphens only"
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
			require.EqualError(t, err, row.want)
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
		require.EqualError(t, err, "ClientSecretCredential: Entra: GetToken needs at least one scope, and none that is empty; one has the form https://vault.azure.net/.default")
		require.Equal(t, ReasonInvalidScope, asCredentialError(t, err))
	}
	require.Zero(t, f.count())
}
