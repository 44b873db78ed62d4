package managedid

import (
	"context"
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

	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/internal/text"
)

// entra requests tokens for an application with a secret or an assertion, by the OAuth 2.0 client credentials flow
// ("Microsoft identity platform and the OAuth 2.0 client credentials flow").
type entra struct {
	entraConfig
	name      string // the credential's type
	authority *url.URL
	proof     proof

	others sync.Map // by tenant in lower case, values weak.Pointer[credential]
}

// proof proves the application's identity to Entra.
type proof struct {
	key       string // its name in a cache
	parameter string // client_secret or client_assertion
	signed    bool   // a certificate's key signs it anew for each request
	read      func(ctx context.Context, tokenURL string) (string, error)
	age       func() string           // the age of the assertion, for an error; nil: unknown
	file      string                  // the file with the secret or assertion; "": none
	preparing func() (string, Reason) // see source
}

// credential returns the credential for one tenant. transient means that its tokens are dropped with it.
func (e *entra) credential(tenant string, transient bool) (*credential, error) {
	return newCredential(e.name, e.source(tenant), e.options, e.cache, e.logger,
		holding{cae: true, tenant: tenant, inTenant: e.inTenant, transient: transient})
}

func (e *entra) source(tenant string) *source {
	path, metadata := "oauth2/v2.0/token", "v2.0/.well-known/openid-configuration"
	if strings.EqualFold(tenant, tenantADFS) {
		// "AD FS OpenID Connect/OAuth flows and application scenarios"
		path, metadata = "oauth2/token", ".well-known/openid-configuration"
	}
	tokenURL := e.authority.JoinPath(tenant, path).String()
	key := endpointKey{address: e.authority.JoinPath("/").String(), tenant: strings.ToLower(tenant),
		client: strings.ToLower(e.clientID)}
	if e.proxy != nil {
		key.proxy = e.proxy.key
	}
	s := &source{
		name:        "Entra",
		host:        e.authority.Host,
		key:         identityKey{endpointKey: key, source: "Entra", identity: e.proof.key},
		retry:       entraRetry,
		announced:   true,
		sendsClaims: true,
		client:      entraClient,
		scope:       entraScope,
		request: func(ctx context.Context, a tokenParams) (*policy.Request, error) {
			return e.request(ctx, tokenURL, a)
		},
		preparing: e.proof.preparing,
		classify:  func(a answer.Answer) verdict { return e.classify(a, tenant) },
		described: described{
			url:            tokenURL,
			subject:        fmt.Sprintf("application %s in tenant %s", text.ID(e.clientID), text.Line(tenant)),
			file:           e.proof.file,
			variables:      e.variables,
			check:          func() error { return e.check(tokenURL) },
			probeURL:       e.authority.JoinPath(tenant, metadata).String(),
			recogniseProbe: func(a answer.Answer) bool { return a.IsMetadata || a.OAuth },
		},
	}
	if e.proxy != nil {
		s.url = e.proxy.url.String()
		s.host, s.transport = "the token proxy "+e.proxy.url.Host, e.proxy.transport
	}
	if e.proof.parameter == assertionParameter && !e.proof.signed {
		s.followUp = func(
			ctx context.Context, a tokenParams, sent *policy.Request, got *http.Response,
		) (*policy.Request, error) {
			return e.withNewAssertion(ctx, tokenURL, a, sent, got)
		}
	}
	return s
}

// check returns an error if the proof can't be used, as far as that shows without a token request.
func (e *entra) check(tokenURL string) error {
	if e.proof.file == "" {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // a canceled context: read doesn't wait for a file
	_, err := e.proof.read(ctx, tokenURL)
	if err == nil && e.proxy == nil && slices.Contains(e.variables, tokenFileVariable) &&
		os.Getenv(tokenProxyVariable) != "" {
		return verdict{reason: ReasonRejectedCredential, advice: needsTokenProxy}
	}
	return err
}

const needsTokenProxy = "the pod has an AKS identity binding, whose assertions go to the token proxy only; " +
	"set EnableAzureProxy in the options of a WorkloadIdentityCredential"

// entraRetry follows "Microsoft Entra authentication and authorization error codes". It retries a 429, a server error
// and temporarily_unavailable, and no other refusal.
var entraRetry = policy.RetryOptions{MaxRetries: 3, RetryDelay: 800 * time.Millisecond, MaxRetryDelay: 10 * time.Second,
	TryTimeout: 20 * time.Second, ShouldRetry: func(resp *http.Response, err error) bool {
		if err != nil {
			return !isUntrusted(err)
		}
		return resp != nil && (resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 ||
			answer.Read(resp).Code == "temporarily_unavailable")
	},
}

// entraScope returns the scopes as the request has them, separated by spaces.
func entraScope(scopes []string) (string, error) {
	if len(scopes) == 0 || slices.Contains(scopes, "") {
		return "", errors.New("GetToken needs at least one scope, and none that is empty; one has the form " +
			"https://vault.azure.net/.default")
	}
	return strings.Join(scopes, " "), nil
}

const (
	secretParameter    = "client_secret"
	assertionParameter = "client_assertion"
)

func (e *entra) request(ctx context.Context, tokenURL string, a tokenParams) (*policy.Request, error) {
	claims, err := requestClaims(a)
	if err != nil {
		return nil, err
	}
	secret, err := e.proof.read(ctx, tokenURL)
	if err != nil {
		return nil, err
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {e.clientID}, "scope": {a.scope},
		e.proof.parameter: {secret}}
	if e.proof.parameter == assertionParameter {
		// RFC 7523, section 2.2
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	}
	if claims != "" {
		form.Set("claims", claims)
	}
	secrets := []string{secret}
	if !text.IsGUID(e.clientID) { // it may be a secret by mistake
		secrets = append(secrets, e.clientID)
	}
	ctx = context.WithValue(ctx, bodySecretsKey{}, func() []string { return secrets })
	req, err := runtime.NewRequest(ctx, http.MethodPost, tokenURL)
	if err != nil {
		return nil, err
	}
	req.Raw().Header.Set("Accept", "application/json")
	return req, req.SetBody(streaming.NopCloser(strings.NewReader(form.Encode())),
		"application/x-www-form-urlencoded; charset=utf-8")
}

// withNewAssertion returns another request if Entra finds the assertion expired and a newer one is there. It returns
// nil if the answer is final.
func (e *entra) withNewAssertion(
	ctx context.Context, tokenURL string, a tokenParams, sent *policy.Request, got *http.Response,
) (*policy.Request, error) {
	if !slices.Contains(answer.Read(got).Codes, assertionExpired) {
		return nil, nil
	}
	req, err := e.request(ctx, tokenURL, a)
	if err != nil || slices.Equal(bodySecrets(req.Raw()), bodySecrets(sent.Raw())) {
		return nil, nil // the error of Entra says more
	}
	return req, nil
}

// requestClaims returns the claims of a request. For a caller that handles continuous access evaluation, it adds the
// capability CP1 to them ("Claims challenges, claims requests and client capabilities").
func requestClaims(a tokenParams) (string, error) {
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

// withMember sets the member of a JSON object at a path, and creates the objects on the way.
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
