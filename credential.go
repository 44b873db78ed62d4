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

	"github.com/managedid/managedid/internal/gate"
	"github.com/managedid/managedid/internal/tokens"
)

const (
	modulePath = "github.com/managedid/managedid"
	version    = "v0.1.0"
)

// credential is what every credential does with a source.
type credential struct {
	name      string // the credential's type
	who       string // name and source, the first words of each error
	source    *source
	cache     *TokenCache
	tokens    *tokens.Set
	gate      *gate.Gate
	client    *azcore.Client
	transport policy.Transporter // of the client
	log       recorder
	run       func(context.Context, ask) (tokens.Token, error) // gets a token where that takes no request; nil: fetch does
	chained   bool                                             // has other links beside it: leaves when its endpoint isn't there
	cae       *credential                                      // its twin for callers that handle CAE; nil: that changes nothing, or this is the twin
	findable  *credential                                      // by which its set is found, where that is dropped with it; nil: by anybody
	tenant    string                                           // whose tokens a request gets that names none
	// inTenant finds the credential for a request's tenant. Nil: it changes nothing.
	inTenant func(home *credential, tenant string) (*credential, error)
}

// Format prints the type alone, with every verb: the rest changes while the credential is in use.
func (c *credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.name) }

// newCredential connects a source with the tokens and the endpoint that it has in a cache.
func newCredential(name string, s *source, options azcore.ClientOptions, cache *TokenCache, logger *slog.Logger) (*credential, error) {
	c := &credential{
		name:   name,
		who:    name + ": " + s.name,
		source: s,
		cache:  cache,
		tokens: cache.set(s.identity),
		gate:   cache.gate(s.endpoint, s.limits),
		log:    recorder{logger},
	}
	return c, c.connect(options)
}

// separateCAE keeps the tokens of callers that handle CAE apart.
func (c *credential) separateCAE(cache *TokenCache) {
	twin := *c
	twin.tokens = cache.set(c.source.identity + " CAE")
	c.cae = &twin
}

// GetToken returns a token from the cache where that has a valid one, else from the endpoint. A scope has the form
// RESOURCE/.default. Errors are *AuthenticationFailedError, or *CredentialUnavailableError where a chain may go on.
func (c *credential) GetToken(ctx context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if t := c.hit(&opts); t != nil {
		return t.AccessToken, nil
	}
	return c.acquire(ctx, opts)
}

func (c *credential) base() *credential { return c }

// inChain returns the credential as a link of a chain that has others: it doesn't wait for an endpoint that nothing
// announces. A copy, since a caller may use the credential on its own too.
func (c *credential) inChain() azcore.TokenCredential {
	if c.source.announced {
		return c
	}
	link := *c
	link.chained = true
	return &link
}

// hit returns the cached token where it is fresh, without a lock or an allocation, else nil.
func (c *credential) hit(opts *policy.TokenRequestOptions) *tokens.Token {
	if opts.EnableCAE && c.cae != nil {
		c = c.cae
	}
	if len(opts.Scopes) == 1 && opts.Claims == "" && (opts.TenantID == "" || opts.TenantID == c.tenant || c.inTenant == nil) {
		return c.tokens.Hit(opts.Scopes[0], time.Now())
	}
	return nil
}

// acquire looks the token up again and waits for a flight where it must.
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
		return azcore.AccessToken{}, &AuthenticationFailedError{Reason: ReasonInvalidScope, message: c.who + ": " + err.Error()}
	}
	given := scope
	if len(opts.Scopes) == 1 {
		given = opts.Scopes[0]
	}
	came := time.Now()
	r := c.want(ctx, ask{scope: scope, claims: opts.Claims, cae: opts.EnableCAE})
	defer r.first.Leave()
	for {
		t, err := c.join(ctx, came, r, c.tokens.Entry(given, scope))
		if errors.Is(err, tokens.ErrGone) || errors.Is(err, errAgain) {
			continue
		} else if err != nil {
			return azcore.AccessToken{}, c.own(err)
		}
		return t.AccessToken, nil
	}
}

// join gets the token from its entry, or waits for a flight.
func (c *credential) join(ctx context.Context, came time.Time, r *request, e *tokens.Entry) (*tokens.Token, error) {
	if e.Usable(time.Now(), r) == nil {
		var other *request
		if f := e.Underway(r); f != nil {
			other = f.Request.(*request)
		}
		if _, err := c.outlook(ctx, came, other, c.gate.Status()); err != nil {
			return nil, err
		}
	}
	t, f, err := e.Join(time.Now(), r)
	if f == nil || err != nil {
		return t, err
	}
	return c.await(ctx, came, r, e, f, t)
}

// variant returns the credential for the tenant and the handling of CAE that a request names, since their tokens
// don't mix. It takes the tenant off the request.
func (c *credential) variant(opts *policy.TokenRequestOptions) (_ *credential, err error) {
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

// own makes a flight's failure this caller's. The flight may be that of a credential to which the endpoint wasn't
// announced.
func (c *credential) own(err error) error {
	if e, ok := err.(*CredentialUnavailableError); ok && e.unanswered != "" && c.source.announced {
		return c.notReady(e.unanswered)
	}
	return copyError(err)
}
