package managedid

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
)

// entra buys tokens for an application, by the OAuth 2.0 client credentials flow ("Microsoft identity platform and the
// OAuth 2.0 client credentials flow"), with a secret or an assertion.
type entra struct {
	entraConfig
	name      string // the credential's type
	authority *url.URL
	proof     proof

	others sync.Map // other tenants, in lower case → weak.Pointer[credential]
}

// proof is what shows Entra that the application is what it says it is.
type proof struct {
	identity  string // names it in a cache
	parameter string // client_secret or client_assertion
	signed    bool   // with a certificate, anew for each request
	read      func(ctx context.Context, tokenURL string) (string, error)
	age       func() string           // of the assertion, in an error; nil: unknown
	file      string                  // that it is read from; "": none
	preparing func() (string, Reason) // see source
}

// credential makes the credential for one tenant, and its twin.
func (e *entra) credential(tenant string) (*credential, error) {
	c, err := newCredential(e.name, e.source(tenant), e.options, e.cache, e.logger)
	if err != nil {
		return nil, err
	}
	c.tenant, c.inTenant = tenant, e.inTenant
	c.separateCAE(e.cache)
	return c, nil
}

func (e *entra) source(tenant string) *source {
	path, metadata := "oauth2/v2.0/token", "v2.0/.well-known/openid-configuration"
	if strings.EqualFold(tenant, tenantADFS) {
		path, metadata = "oauth2/token", ".well-known/openid-configuration" // "AD FS OpenID Connect/OAuth flows and application scenarios"
	}
	tokenURL := e.authority.JoinPath(tenant, path).String()
	endpoint := fmt.Sprintf("entra %s %q", e.authority.JoinPath(strings.ToLower(tenant)), strings.ToLower(e.clientID))
	if e.proxy != nil {
		endpoint += " through " + e.proxy.identity
	}
	s := &source{
		name:        "Entra",
		host:        e.authority.Host,
		identity:    endpoint + " " + e.proof.identity,
		endpoint:    endpoint,
		retry:       entraRetry,
		announced:   true,
		sendsClaims: true,
		client:      entraClient,
		scope:       entraScope,
		request:     func(ctx context.Context, a ask) (*policy.Request, error) { return e.request(ctx, tokenURL, a) },
		preparing:   e.proof.preparing,
		explain:     func(a answer) verdict { return e.explain(a, tenant) },
		explained: explained{
			url:       tokenURL,
			subject:   fmt.Sprintf("application %s in tenant %s", shownID(e.clientID), oneLine(tenant)),
			file:      e.proof.file,
			variables: e.variables,
			check:     func() error { return e.check(tokenURL) },
			probe:     e.authority.JoinPath(tenant, metadata).String(),
			isOwn:     func(a answer) bool { return a.isMetadata || a.oauth },
		},
	}
	if e.proxy != nil {
		s.url = e.proxy.url.String()
		s.host, s.transport = "the token proxy "+e.proxy.url.Host, e.proxy.transport
	}
	if e.proof.parameter == assertionParameter && !e.proof.signed {
		s.again = func(ctx context.Context, a ask, sent *policy.Request, got *http.Response) (*policy.Request, error) {
			return e.withNewAssertion(ctx, tokenURL, a, sent, got)
		}
	}
	return s
}

// check says why what proves the identity can't be used, as far as that shows without asking for a token.
func (e *entra) check(tokenURL string) error {
	if e.proof.file == "" {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // so that it doesn't wait for a file
	_, err := e.proof.read(ctx, tokenURL)
	if err == nil && e.proxy == nil && slices.Contains(e.variables, tokenFileVariable) && os.Getenv(tokenProxyVariable) != "" {
		return verdict{reason: ReasonRejectedCredential, advice: needsTokenProxy}
	}
	return err
}

const needsTokenProxy = "the pod has an AKS identity binding, whose assertions go to the token proxy only; " +
	"set EnableAzureProxy in the options of a WorkloadIdentityCredential"

// entraRetry follows "Microsoft Entra authentication and authorization error codes": 429, server errors and
// temporarily_unavailable may pass, any other refusal not.
var entraRetry = policy.RetryOptions{MaxRetries: 3, RetryDelay: 800 * time.Millisecond, MaxRetryDelay: 10 * time.Second, TryTimeout: 20 * time.Second,
	ShouldRetry: func(resp *http.Response, err error) bool {
		if err != nil {
			return !isUntrusted(err)
		}
		return resp != nil && (resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 || readAnswer(resp).code == "temporarily_unavailable")
	},
}

// isUntrusted tells whether a server's certificate was refused.
func isUntrusted(err error) bool {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	return untrusted
}

// entraScope joins the scopes as the request has them.
func entraScope(scopes []string) (string, error) {
	if len(scopes) == 0 || slices.Contains(scopes, "") {
		return "", errors.New("GetToken needs at least one scope, and none that is empty; one has the form https://vault.azure.net/.default")
	}
	return strings.Join(scopes, " "), nil
}

const (
	secretParameter    = "client_secret"
	assertionParameter = "client_assertion"
)

func (e *entra) request(ctx context.Context, tokenURL string, a ask) (*policy.Request, error) {
	claims, err := requestClaims(a)
	if err != nil {
		return nil, err
	}
	secret, err := e.proof.read(ctx, tokenURL)
	if err != nil {
		return nil, err
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {e.clientID}, "scope": {a.scope}, e.proof.parameter: {secret}}
	if e.proof.parameter == assertionParameter {
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer") // RFC 7523, section 2.2
	}
	if claims != "" {
		form.Set("claims", claims)
	}
	secrets := []string{secret}
	if !isGUID(e.clientID) { // perhaps a secret in its place
		secrets = append(secrets, e.clientID)
	}
	ctx = context.WithValue(ctx, bodySecretsKey{}, func() []string { return secrets })
	req, err := runtime.NewRequest(ctx, http.MethodPost, tokenURL)
	if err != nil {
		return nil, err
	}
	req.Raw().Header.Set("Accept", "application/json")
	return req, req.SetBody(streaming.NopCloser(strings.NewReader(form.Encode())), "application/x-www-form-urlencoded; charset=utf-8")
}

// withNewAssertion makes another request where Entra finds the assertion expired and it has been replaced meanwhile.
func (e *entra) withNewAssertion(ctx context.Context, tokenURL string, a ask, sent *policy.Request, got *http.Response) (*policy.Request, error) {
	if !slices.Contains(readAnswer(got).codes, assertionExpired) {
		return nil, nil
	}
	req, err := e.request(ctx, tokenURL, a)
	if err != nil || slices.Equal(bodySecrets(req.Raw()), bodySecrets(sent.Raw())) {
		return nil, nil // Entra's refusal says more
	}
	return req, nil
}

// requestClaims adds to a challenge that the caller handles continuous access evaluation: its capability CP1
// ("Claims challenges, claims requests and client capabilities").
func requestClaims(a ask) (string, error) {
	var err error
	if a.cae {
		a.claims, err = withMember(a.claims, `["CP1"]`, "access_token", "xms_cc", "values")
	} else if a.claims != "" && (!json.Valid([]byte(a.claims)) || strings.TrimSpace(a.claims)[0] != '{') {
		err = errors.New("not an object")
	}
	if err != nil {
		return "", errors.New("the Claims of the request are not the JSON object of a claims challenge")
	}
	return a.claims, nil
}

// withMember sets a member of a JSON object, and those on the way to it.
func withMember(object, value string, path ...string) (string, error) {
	if len(path) == 0 {
		return value, nil
	}
	members := map[string]json.RawMessage{}
	if object != "" {
		if err := json.Unmarshal([]byte(object), &members); err != nil || members == nil {
			return "", errors.New("not an object")
		}
	}
	member, err := withMember(string(members[path[0]]), value, path[1:]...)
	if err != nil {
		return "", err
	}
	members[path[0]] = json.RawMessage(member)
	b, err := json.Marshal(members)
	return string(b), err
}

// keyedHash names a secret in a cache. Its key is the process's, so that nothing can be learned from the name.
func keyedHash(secret string) string {
	mac := hmac.New(sha256.New, []byte(hashKey()))
	mac.Write([]byte(secret))
	return hex.EncodeToString(mac.Sum(nil))
}

var hashKey = sync.OnceValue(rand.Text)
