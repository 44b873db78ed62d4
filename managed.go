package managedid

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/internal/text"
)

// ManagedIdentityCredentialOptions are the options of NewManagedIdentityCredential.
type ManagedIdentityCredentialOptions struct {
	// ClientOptions configures the pipeline. A zero Retry field means the source's default. A Transport that is an
	// *http.Client is copied, and the copy follows no redirects. Logging.IncludeBody and APIVersion have no effect.
	azcore.ClientOptions
	// ID names a user-assigned identity. Nil means the host's default, normally its system-assigned identity.
	ID ManagedIDKind
	// Source names the endpoint instead of detecting it, and says that it exists. A call then waits for an endpoint
	// that is still booting, as long as the caller's context allows. Zero means detection.
	Source Source
	// Cache holds the tokens. Nil means the cache of the process, or a private cache if ClientOptions has a Transport,
	// policies or retry options.
	Cache *TokenCache
	// Logger gets a record of each token, each failed request and each pause, but never a secret. The package
	// documentation lists the records under Logging. Nil means no records.
	Logger *slog.Logger
}

// ManagedIdentityCredential gets tokens for the managed identity of the host. GetToken takes exactly one scope,
// RESOURCE/.default or just RESOURCE. TenantID has no effect. If the cached token was not requested with the same
// Claims, GetToken requests a new one, but doesn't send the Claims. Service Fabric's endpoint is told which token the
// Claims were about, so that it doesn't return that one again, and is told of EnableCAE. At the other endpoints,
// EnableCAE has no effect. A ManagedIdentityCredential is safe for concurrent use.
type ManagedIdentityCredential struct {
	*credential
}

var _ azcore.TokenCredential = (*ManagedIdentityCredential)(nil)

// GetToken returns a valid token from the cache, or else requests a new one. It takes exactly one scope,
// RESOURCE/.default or just RESOURCE. Its error is an *AuthenticationFailedError, or a *CredentialUnavailableError if a
// chain may go on to its next link.
func (c *ManagedIdentityCredential) GetToken(
	ctx context.Context, opts policy.TokenRequestOptions,
) (azcore.AccessToken, error) {
	if c.credential == nil {
		return azcore.AccessToken{}, notMade(nameManagedIdentity)
	}
	return c.credential.GetToken(ctx, opts)
}

// Format prints only the name of the type, whatever the verb. The rest is secret, or changes while the credential is in
// use.
func (ManagedIdentityCredential) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, nameManagedIdentity)
}

func (c *ManagedIdentityCredential) self() azcore.TokenCredential { return c }

// NewManagedIdentityCredential returns a credential for the host's managed identity. Nil options mean defaults. It
// sends nothing, and fails only if an option or an environment variable is invalid.
func NewManagedIdentityCredential(options *ManagedIdentityCredentialOptions) (*ManagedIdentityCredential, error) {
	var o ManagedIdentityCredentialOptions
	if options != nil {
		o = *options
	}
	c, err := newManagedCredential(o)
	if err != nil {
		return nil, err
	}
	return &ManagedIdentityCredential{c}, nil
}

// newManagedCredential returns the credential. variables are the environment variables that it uses besides those of
// the source.
func newManagedCredential(o ManagedIdentityCredentialOptions, variables ...string) (*credential, error) {
	s, err := managedSource(&o, variables)
	if err != nil {
		return nil, misconfigured(nameManagedIdentity, err.Error())
	}
	cache := cacheFor(o.Cache, &o.ClientOptions)
	options := copyOptions(o.ClientOptions)
	h := holding{cae: s.sendsClaims}
	if s.address != nil {
		h.moved = following(func(s *source) (*credential, error) {
			return newCredential(nameManagedIdentity, s, options, cache, o.Logger, holding{cae: s.sendsClaims})
		})
	}
	return newCredential(nameManagedIdentity, s, options, cache, o.Logger, h)
}

// following returns a function that finds the credential for the endpoint's current address. The tokens of another
// address have another name in the cache. If the variable has no valid address, the function returns the credential
// that it was given, and the next request fails with the reason.
func following(create func(*source) (*credential, error)) func(*credential) *credential {
	var last atomic.Pointer[credential]
	return func(home *credential) *credential {
		address := home.source.address()
		if address == "" || address == home.source.key.address {
			return home
		}
		if c := last.Load(); c != nil && c.source.key.address == address {
			return c
		}
		s := *home.source
		s.url, s.key.address = address, address
		if u, err := url.Parse(address); err == nil {
			s.host = u.Host
		}
		c, err := create(&s)
		if err != nil {
			return home
		}
		last.Store(c)
		return c
	}
}

// managedSource returns the source that the options name or that is detected. It checks that the source takes the ID.
func managedSource(o *ManagedIdentityCredentialOptions, variables []string) (*source, error) {
	if o.ID != nil && strings.TrimSpace(o.ID.String()) == "" {
		return nil, fmt.Errorf("the %s of the identity is empty; correct it in the options or AZURE_CLIENT_ID",
			o.ID.idKind())
	}
	kind, evidence := namedSource(o.Source), "the Source in the options"
	if o.Source == "" {
		kind, evidence = detectSource()
	}
	var s *source
	var err error
	switch kind {
	case SourceIMDS:
		s, err = imdsSource(o.ID)
	case SourceAppService:
		s, err = appServiceSource(o.ID)
	case SourceAzureArc:
		s, err = localArcSource(o.ID)
	case SourceAzureML:
		s, err = azureMLSource(o.ID)
	case SourceCloudShell:
		s, err = cloudShellSource(o.ID)
	case SourceServiceFabric:
		s, err = serviceFabricSource(o.ID)
	default:
		return nil, fmt.Errorf("unknown source %q; name one of the Source constants, or none",
			text.Quote(string(o.Source)))
	}
	if err != nil {
		return nil, err
	}
	s.announced = s.announced || o.Source != ""
	managed(s)
	if s.confirm == nil {
		s.confirm = func(body []byte) error { return confirmClientID(body, o.ID) }
	}
	if kind == SourceIMDS && evidence != noOtherSource && o.Source == "" {
		s.doubt = evidence
	}
	s.url, s.evidence, s.subject = s.key.address, evidence, cmp.Or(s.subject, "the host's default identity")
	s.variables = append(s.variables, variables...)
	if o.ID != nil {
		s.subject = o.ID.idKind().String() + " " + text.ID(o.ID.String())
	}
	return s, nil
}

// hostRetry is for endpoints on the host whose documentation gives no other guidance. A sidecar may start after its
// app, and an agent that restarts is back within seconds. The status codes are those of azcore, so a 404 is final.
var hostRetry = policy.RetryOptions{MaxRetries: 5, RetryDelay: 800 * time.Millisecond, MaxRetryDelay: 10 * time.Second,
	TryTimeout: time.Minute}

// managed sets what all endpoints of managed identities have in common.
func managed(s *source) {
	specific := s.classify
	s.client, s.scope = metadataClient, managedScope
	if s.retry.MaxRetries == 0 {
		s.retry = hostRetry
	}
	s.classify = func(a answer.Answer) verdict {
		switch {
		case a.Status == http.StatusTooManyRequests:
			return verdict{reason: ReasonThrottled, advice: "the endpoint is throttling this host"}
		case a.Status == http.StatusRequestTimeout:
			return verdict{reason: ReasonNotReady, advice: "the endpoint took too long over the request"}
		case a.Code == "invalid_resource", a.Code == "invalid_scope":
			return verdict{reason: ReasonInvalidScope, advice: "the resource is unknown; correct the scope"}
		}
		return specific(a)
	}
}

// confirmClientID rejects an answer that names another identity. Recorded answers of IMDS and App Service contain only
// the client ID. An answer without one is accepted.
func confirmClientID(body []byte, id ManagedIDKind) error {
	if id == nil || id.idKind() != kindClientID {
		return nil
	} else if _, others := answer.Echoes(body, id.String(), "client_id"); !others {
		return nil
	}
	return verdict{reason: ReasonMalformedAnswer,
		advice: fmt.Sprintf("the answer is for another identity than the one with %s %s, so its token was discarded; "+
			"see what answers at the endpoint", id.idKind(), text.ID(id.String()))}
}
