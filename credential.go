package managedid

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid/internal/tokens"
)

// credential implements GetToken for every credential. It holds the tokens of one identity, and requests more through
// its requester.
type credential struct {
	*requester
	tokens  *tokens.Set
	cae     *credential // the twin for callers with EnableCAE; nil if there is none, or if this is the twin
	chained bool        // is one of several links: it doesn't wait for an absent endpoint
	tenant  string      // the tenant of a request that names none
	// inTenant returns the credential for a request's tenant. Nil means that the tenant has no effect.
	inTenant func(home *credential, tenant string) (*credential, error)
	// moved returns the credential for the endpoint's current address. Nil means that the address never changes.
	moved func(home *credential) *credential
	// findable is the credential that finds the tokens, if they are dropped with it. Nil means that any credential
	// finds them.
	findable *credential
}

// holding has the parts of a credential that its requester doesn't have. A zero field means that it has no such part.
type holding struct {
	cae       bool // callers with EnableCAE get other tokens
	tenant    string
	inTenant  func(home *credential, tenant string) (*credential, error)
	moved     func(home *credential) *credential
	transient bool // the tokens are dropped with the credential
}

// newCredential connects a source to its tokens and its gate in a cache.
func newCredential(
	name string, s *source, options azcore.ClientOptions, cache *TokenCache, logger *slog.Logger, h holding,
) (*credential, error) {
	r, err := newRequester(name, s, options, cache, logger)
	if err != nil {
		return nil, err
	}
	c := &credential{requester: r, tokens: cache.set(s.key), tenant: h.tenant, inTenant: h.inTenant, moved: h.moved}
	if h.transient {
		c.findable = c
	}
	if h.cae {
		twin := *c
		key := s.key
		key.cae = true
		twin.tokens = cache.set(key)
		c.cae = &twin
	}
	return c, nil
}

// Format prints only the name of the type, whatever the verb. The rest changes while the credential is in use.
func (c *credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.name) }

// GetToken returns a valid token from the cache, or else requests a new one. A scope has the form RESOURCE/.default.
// Its error is an *AuthenticationFailedError, or a *CredentialUnavailableError if a chain may go on to its next link.
func (c *credential) GetToken(ctx context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if t := c.hit(&opts); t != nil {
		return t.AccessToken, nil
	}
	return c.acquire(ctx, opts)
}

func (c *credential) self() azcore.TokenCredential { return c }

func (c *credential) base() *credential { return c }

// inChain returns the credential as one of several links, which doesn't wait for an endpoint that nothing announces. It
// returns a copy, because the caller may also use the credential outside of the chain.
func (c *credential) inChain() azcore.TokenCredential {
	if c.source.announced {
		return c
	}
	link := *c
	link.chained = true
	return &link
}

// hit returns the cached token if it is fresh, else nil. It takes no lock and allocates nothing.
func (c *credential) hit(opts *policy.TokenRequestOptions) *tokens.Token {
	if opts.EnableCAE && c.cae != nil {
		c = c.cae
	}
	if len(opts.Scopes) == 1 && opts.Claims == "" &&
		(opts.TenantID == "" || opts.TenantID == c.tenant || c.inTenant == nil) {
		return c.tokens.Hit(opts.Scopes[0], time.Now())
	}
	return nil
}

// acquire looks up the token again, and waits for a flight if there is no valid token.
func (c *credential) acquire(ctx context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c, err := c.variant(&opts)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	if t := c.hit(&opts); t != nil {
		return t.AccessToken, nil
	}
	scope, err := c.source.scope(opts.Scopes)
	if err != nil {
		return azcore.AccessToken{}, &AuthenticationFailedError{Reason: ReasonInvalidScope,
			message: c.who + ": " + err.Error()}
	}
	given := scope
	if len(opts.Scopes) == 1 {
		given = opts.Scopes[0]
	}
	r := newRequest(ctx, c.requester, c.chained, tokenParams{scope: scope, claims: opts.Claims, cae: opts.EnableCAE},
		func(until time.Time) { c.cache.hold(c.tokens, c.findable, until) })
	defer r.caller.Leave()
	for {
		t, err := r.join(ctx, c.tokens.Entry(given, scope))
		if errors.Is(err, tokens.ErrGone) || errors.Is(err, errAgain) {
			continue
		} else if err != nil {
			return azcore.AccessToken{}, c.forCaller(err)
		}
		return t.AccessToken, nil
	}
}

// variant returns the credential for a request's tenant, for the endpoint's current address and for the request's
// EnableCAE, because each has tokens of its own. It clears the TenantID of the request.
func (c *credential) variant(opts *policy.TokenRequestOptions) (_ *credential, err error) {
	if c.moved != nil {
		c = c.moved(c)
	}
	if c.inTenant != nil {
		if c, err = c.inTenant(c, opts.TenantID); err != nil {
			return nil, err
		}
	}
	opts.TenantID = ""
	if opts.EnableCAE && c.cae != nil {
		c = c.cae
	}
	return c, nil
}
