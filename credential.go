package managedid

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

const (
	modulePath = "github.com/managedid/managedid"
	version    = "v0.1.0"
)

// source is one kind of endpoint that gives tokens: what it wants, and what its answers mean.
type source struct {
	name string // in errors and logs
	host string // in errors
	// identity names the identity and the endpoint in a cache, endpoint the scope of throttling.
	identity, endpoint string
	limits             limits
	retry              policy.RetryOptions // defaults for the fields that the user left zero
	announced          bool                // by the host's variables or the caller: it is there, or will be
	// resource returns what the cache and the request call the scopes.
	resource func(policy.TokenRequestOptions) (string, error)
	request  func(ctx context.Context, resource string) (*policy.Request, error)
	// recognise tells the endpoint's own answers from those of something else at its address. Nil: all are.
	recognise func(answer) bool
	// explain says what a failure means, and what to do about it.
	explain func(answer) verdict
}

// verdict is a source's explanation of a failed answer.
type verdict struct {
	reason      Reason
	advice      string // becomes the error's line, before the quoted answer
	unavailable bool   // a chain may go on
}

// credential is what every credential does with a source.
type credential struct {
	name     string // the credential's type
	who      string // name and source, the first words of each error
	source   *source
	tokens   *identity
	endpoint *endpoint
	client   *azcore.Client
	logger   *slog.Logger
	chained  bool // has other links beside it: leaves when its endpoint isn't there
}

// hit returns the cached token where it is fresh, without a lock or an allocation, else nil.
func (c *credential) hit(opts *policy.TokenRequestOptions) *token {
	if len(opts.Scopes) == 1 && opts.Claims == "" {
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
	resource, err := c.source.resource(opts)
	if err != nil {
		return azcore.AccessToken{}, &AuthenticationFailedError{Reason: ReasonInvalidScope, message: c.who + ": " + err.Error()}
	}
	o := c.order(resource, opts.Claims != "")
	for {
		e := c.tokens.entry(opts.Scopes[0], resource)
		if e.current.Load().freshness(time.Now()) == expired {
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
		}
		if err != nil {
			return azcore.AccessToken{}, c.own(err)
		}
		return t.AccessToken, nil
	}
}

// order is what a flight for a resource does.
func (c *credential) order(resource string, renew bool) *order {
	return &order{
		refreshBefore: c.tokens.refreshBefore,
		renew:         renew,
		probe:         c.chained && !c.isProven(),
		span: func(ctx context.Context) (context.Context, func(error)) {
			return runtime.StartSpan(ctx, c.name+".GetToken", c.client.Tracer(), nil)
		},
		fetch:   func(ctx context.Context) (token, error) { return c.fetch(ctx, resource) },
		overdue: func(ctx context.Context) error { return c.unanswered(ctx, ctx.Err()) },
		report: func(ctx context.Context, t token, err error, took time.Duration) {
			if c.logger == nil || ctx.Err() == context.Canceled { // nobody was left to want it
				return
			}
			if err != nil {
				c.logger.Warn("token request failed", "credential", c.who, "resource", resource, "took", took, "error", err.Error())
				return
			}
			c.logger.Debug("token received", "credential", c.who, "resource", resource, "took", took, "expires", t.ExpiresOn)
		},
	}
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
			return nil, f.err
		default:
		}
		var until time.Time
		if valid {
			until = f.began.Add(urgentWait)
			if ctx.Err() != nil || !now.Before(until) || now.Before(opens) {
				return t, nil
			}
		} else if until, err = c.outlook(ctx, f); err != nil {
			gone = ctx.Err() == nil && reasonOf(err) == ReasonAbsent
			return nil, err
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
		return until, c.left(ctx)
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
func (c *credential) left(ctx context.Context) error {
	message := c.who + ": no token before the caller's context ended"
	if c.endpoint.failure != "" {
		message += " (the endpoint's last failure: " + c.endpoint.failure + ")"
	}
	return &AuthenticationFailedError{message: message + ": " + ctx.Err().Error(), cause: ctx.Err()}
}

// own makes a flight's failure this caller's. The flight may be that of a credential to which the endpoint wasn't announced.
func (c *credential) own(err error) error {
	if e, ok := err.(*CredentialUnavailableError); ok && e.unanswered != "" && c.source.announced {
		return c.notReady(e.unanswered)
	}
	return copyError(err)
}

// fetch runs in a flight: it sends the request, with all the tries that the source and the user allow.
func (c *credential) fetch(ctx context.Context, resource string) (t token, err error) {
	try := attempt{sent: time.Now()} // unless a policy of the user's answers by itself
	req, err := c.source.request(ctx, resource)
	if err != nil {
		return t, &AuthenticationFailedError{Reason: ReasonConfiguration, message: c.who + ": " + err.Error()}
	}
	resp, err := c.client.Pipeline().Do(req)
	req.OperationValue(&try)
	if err != nil {
		return t, c.unanswered(ctx, err)
	}
	for name, values := range try.retryAfter {
		resp.Header[name] = values
	}
	body, err := runtime.Payload(resp)
	if err != nil {
		return t, c.unanswered(ctx, err)
	}
	if resp.StatusCode/100 != 2 {
		return t, c.refused(req, resp, body)
	}
	t, err = decodeToken(body, try.sent, time.Now())
	if err != nil && c.isProven() {
		err = &AuthenticationFailedError{Reason: ReasonMalformedAnswer, message: c.who + ": " + err.Error()}
	} else if err != nil {
		err = notRecognised(c.who, c.source, readAnswer(resp))
	}
	return t, err
}

func (c *credential) isProven() bool {
	c.endpoint.mu.Lock()
	defer c.endpoint.mu.Unlock()
	return c.endpoint.presence.proven
}

// unanswered explains a flight that ended without an answer. It never wraps err: only a caller whose own
// context ended may see an error that matches a context's.
func (c *credential) unanswered(ctx context.Context, err error) error {
	if own, ok := errors.AsType[*AuthenticationFailedError](err); ok {
		return own
	}
	cause := transportCause(err)
	c.endpoint.mu.Lock()
	defer c.endpoint.mu.Unlock()
	if ctx.Err() != nil {
		if cause = "no token within " + flightLimit.String(); c.endpoint.failure != "" {
			cause += ", the endpoint's last failure: " + c.endpoint.failure
		}
	}
	if !c.endpoint.presence.proven {
		return absent(c.who, c.source, cause)
	}
	if _, ok := errors.AsType[tooLargeError](err); ok {
		return &AuthenticationFailedError{Reason: ReasonMalformedAnswer, message: c.who + ": " + cause}
	}
	return c.notReady(cause)
}

func (c *credential) notReady(cause string) error {
	return &AuthenticationFailedError{Reason: ReasonNotReady, message: c.who + ": the endpoint is not ready: " + cause}
}

// refused explains the answer that azcore's retry policy did not, or no longer, retry.
func (c *credential) refused(req *policy.Request, resp *http.Response, body []byte) error {
	a := readAnswer(resp, secrets(req)...)
	if c.source.recognise != nil && !c.isProven() {
		return notRecognised(c.who, c.source, a)
	}
	v := c.source.explain(a)
	message := fmt.Sprintf("%s: %s (%s)", c.who, v.advice, a)
	if v.unavailable {
		return &CredentialUnavailableError{Reason: v.reason, message: message}
	}
	e := &AuthenticationFailedError{Reason: v.reason, message: message, response: responseMaker(resp, body)}
	if v.reason == ReasonThrottled {
		c.endpoint.mu.Lock()
		e.RetryAfter = c.endpoint.gate.opens
		c.endpoint.mu.Unlock()
	}
	return e
}
