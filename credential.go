package managedid

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/tracing"
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
	tokens    *identity
	endpoint  *endpoint
	client    *azcore.Client
	transport policy.Transporter // of the client
	logger    *slog.Logger
	run       func(context.Context, ask) (token, error) // gets a token where that takes no request; nil: fetch does
	chained   bool                                      // has other links beside it: leaves when its endpoint isn't there
	cae       *credential                               // its twin for callers that handle CAE; nil: that changes nothing, or this is the twin
	tenant    string                                    // whose tokens a request gets that names none
	// inTenant finds the credential for a request's tenant. Nil: it changes nothing.
	inTenant func(home *credential, tenant string) (*credential, error)
}

// Format prints the type alone, with every verb: the rest changes while the credential is in use.
func (c *credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.name) }

// newCredential connects a source with the tokens and the endpoint that it has in a cache.
func newCredential(name string, s *source, options azcore.ClientOptions, cache *TokenCache, logger *slog.Logger) (*credential, error) {
	c := &credential{
		name:     name,
		who:      name + ": " + s.name,
		source:   s,
		tokens:   cache.identity(s.identity),
		endpoint: cache.endpoint(s.endpoint, s.limits),
		logger:   logger,
	}
	var err error
	c.client, c.transport, err = newClient(options, c.who, s, c.endpoint, logger)
	return c, err
}

// separateCAE keeps the tokens of callers that handle CAE apart.
func (c *credential) separateCAE(cache *TokenCache) {
	twin := *c
	twin.tokens = cache.identity(c.source.identity + " CAE")
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
func (c *credential) hit(opts *policy.TokenRequestOptions) *token {
	if opts.EnableCAE && c.cae != nil {
		c = c.cae
	}
	if len(opts.Scopes) == 1 && opts.Claims == "" && (opts.TenantID == "" || opts.TenantID == c.tenant || c.inTenant == nil) {
		if e, ok := c.tokens.entries.Load(opts.Scopes[0]); ok {
			if t := e.(*entry).current.Load(); t != nil && time.Now().Before(t.due) {
				return t
			}
		}
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
	o := c.order(ask{scope: scope, claims: c.claims(opts.Claims), cae: opts.EnableCAE})
	for {
		e := c.tokens.entry(given, scope)
		if e.usable(time.Now(), o) == nil {
			if _, err := c.outlook(ctx, nil); err != nil {
				return azcore.AccessToken{}, c.own(err)
			}
		}
		t, f, err := e.join(time.Now(), o)
		switch {
		case err == errGone:
			continue
		case f != nil:
			t, err = c.await(ctx, e, f, t)
			c.missed(ctx, f, scope, err)
		}
		if err != nil {
			return azcore.AccessToken{}, c.own(err)
		}
		return t.AccessToken, nil
	}
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

// claims returns what names a challenge in the cache.
func (c *credential) claims(challenge string) string {
	if challenge != "" && !c.source.sendsClaims {
		return claimsUnsent
	}
	return challenge
}

// order is what a flight does.
func (c *credential) order(a ask) *order {
	return &order{
		refreshBefore: c.tokens.refreshBeforeOf,
		count:         c.tokens.counts.add,
		claims:        a.claims,
		probe:         c.chained && !c.isProven(),
		span: func(ctx context.Context) (context.Context, func(error)) {
			return runtime.StartSpan(ctx, c.name+".GetToken", c.client.Tracer(), &runtime.StartSpanOptions{Attributes: []tracing.Attribute{
				{Key: "managedid.source", Value: c.source.name}, {Key: "managedid.identity", Value: c.source.subject}, {Key: "managedid.scope", Value: a.scope}}})
		},
		fetch: func(ctx context.Context, challenged string) (token, error) {
			a := a
			a.challenged = challenged
			if c.run != nil {
				return c.run(ctx, a)
			}
			return c.fetch(ctx, a)
		},
		overdue: func(ctx context.Context) error { return c.unanswered(ctx, ctx.Err()) },
		report: func(ctx context.Context, t token, err error, took, left time.Duration) {
			if c.logger == nil || ctx.Err() == context.Canceled { // nobody was left to want it
				return
			}
			of := append(c.attributes(), "scope", a.scope, "took", took, "tries", flightOf(ctx).tries.Load())
			if err = c.own(err); err != nil {
				of = append(of, "reason", string(ReasonOf(err)), "error", err.Error())
			}
			switch {
			case err == nil && t.clientID != "":
				c.logger.Debug("token received", append(of, "expires", t.ExpiresOn, "clientID", t.clientID)...)
			case err == nil:
				c.logger.Debug("token received", append(of, "expires", t.ExpiresOn)...)
			case left > 0:
				c.logger.Warn("token refresh failed", append(of, "left", left)...)
			default:
				c.logger.Warn("token request failed", of...)
			}
		},
	}
}

// attributes say in records whose tokens are meant.
func (c *credential) attributes() []any {
	return []any{"credential", c.name, "source", c.source.name, "identity", c.source.subject}
}

// await waits for the flight as long as the caller has reason to. t is the token to fall back on, or nil.
func (c *credential) await(ctx context.Context, e *entry, f *flight, t *token) (_ *token, err error) {
	gone := false
	defer func() { e.leave(f, gone) }()
	for {
		news, opens := c.news() // before the rest is looked at, so that no change is missed
		now := time.Now()
		valid := t.freshness(now) != expired
		select {
		case <-f.done:
			switch {
			case f.token.freshness(now) != expired:
				return f.token, nil
			case valid:
				return t, nil
			case f.next != nil:
				f = f.next
				continue
			case f.err == nil:
				return nil, &AuthenticationFailedError{Reason: ReasonMalformedAnswer, message: c.who + ": the token expired on its way"}
			}
			return e.instead(now, f, f.err)
		default:
		}
		var until time.Time
		if valid {
			until = earlier(f.began.Add(urgentWait), t.ExpiresOn.Add(-lastMoment))
			if ctx.Err() != nil || !now.Before(until) || now.Before(opens) {
				return t, nil
			}
		} else if until, err = c.outlook(ctx, f); err != nil {
			gone = ctx.Err() == nil && ReasonOf(err) == ReasonAbsent
			return e.instead(now, f, err)
		}
		wait(ctx, f.done, news, until)
	}
}

// news returns a channel that is closed when a caller must look again, and when the gate opens.
func (c *credential) news() (<-chan struct{}, time.Time) {
	c.endpoint.mu.Lock()
	defer c.endpoint.mu.Unlock()
	return c.endpoint.news.watch(), c.endpoint.gate.opens
}

// outlook tells a caller without a token why waiting is in vain, or when to look again; zero means at the next change.
// f is the caller's flight, or nil.
func (c *credential) outlook(ctx context.Context, f *flight) (until time.Time, err error) {
	c.endpoint.mu.Lock()
	defer c.endpoint.mu.Unlock()
	now := time.Now()
	if ctx.Err() != nil {
		return until, c.left(ctx, f)
	}
	opens := c.endpoint.gate.opens
	deadline, ok := ctx.Deadline()
	outlasts := ok && opens.After(deadline) || opens.Sub(now) > maxGateWait
	if opens.After(now) && outlasts && (f == nil || !f.sending.Load()) {
		return until, throttled(c.who, opens)
	}
	if c.chained {
		return c.endpoint.presence.check(now, c.who, c.source)
	}
	return until, nil
}

// left is the error of a caller whose context ended first. The caller holds endpoint.mu.
func (c *credential) left(ctx context.Context, f *flight) error {
	e := &AuthenticationFailedError{message: c.who + ": no token before the caller's context ended", cause: ctx.Err()}
	if f != nil && c.endpoint.failure != "" {
		e.message += " (the endpoint's last failure: " + c.endpoint.failure + ")"
		c.endpoint.blame(e)
	}
	e.message += ": " + ctx.Err().Error()
	return e
}

// own makes a flight's failure this caller's. The flight may be that of a credential to which the endpoint wasn't announced.
func (c *credential) own(err error) error {
	if e, ok := err.(*CredentialUnavailableError); ok && e.unanswered != "" && c.source.announced {
		return c.notReady(e.unanswered)
	}
	return copyError(err)
}
