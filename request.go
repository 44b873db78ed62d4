package managedid

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	azruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/tracing"

	"github.com/managedid/managedid/internal/gate"
	"github.com/managedid/managedid/internal/tokens"
)

// request is what a caller asks for. It also does the work of the flight that it begins.
type request struct {
	*requester
	tokenParams
	progress
	challenge string                // the name of the claims in the cache
	chained   bool                  // see credential.chained
	came      time.Time             // when its caller came
	caller    *gate.Caller          // the caller that made it
	keep      func(until time.Time) // keeps the tokens in the cache until a time, even without a credential

	missed  atomic.Bool // a record says that a caller left without a token
	dropped atomic.Bool // its last caller has left, because the endpoint is absent

	crashed error // the crash of a guest that ended the goroutine of Fetch; only Fetch uses it
}

var _ tokens.Request = (*request)(nil)

// Claims returns the name of the challenge that the token must answer, or "" if there is none.
func (r *request) Claims() string { return r.challenge }

// Fetch gets the token, in a tracing span.
func (r *request) Fetch(ctx context.Context, f *tokens.Flight) (t tokens.Token, err error) {
	defer r.guests.enter()()
	if f.Refreshes != nil {
		r.ticket.Keep(time.Now().Add(f.Refreshes.Left(time.Now())))
	}
	ctx, end := azruntime.StartSpan(ctx, r.name+".GetToken", r.client.Tracer(),
		&azruntime.StartSpanOptions{Attributes: []tracing.Attribute{
			{Key: "managedid.source", Value: r.source.name}, {Key: "managedid.identity", Value: r.source.subject},
			{Key: "managedid.scope", Value: r.scope}}})
	ctx = withCrashed(ctx, &r.crashed)
	err = crash{listening} // the error if Fetch doesn't return
	defer func() { end(err) }()
	a := r.tokenParams
	a.challenged = f.Challenged
	if r.source.run != nil {
		t, err = r.source.run(ctx, r.who, a)
	} else {
		t, err = r.fetch(ctx, &r.progress, a)
	}
	return t, err
}

// Overdue returns the error of a flight that took too long, or whose last caller has left.
func (r *request) Overdue(*tokens.Flight) error {
	if r.dropped.Load() {
		return gate.ErrAbandoned
	}
	return r.overdue()
}

// Crashed returns the error of a flight whose Fetch didn't return.
func (r *request) Crashed(any) error {
	if c, ok := r.crashed.(crash); ok {
		return c.failure(r.who)
	}
	return r.log.crash(listening).failure(r.who)
}

// Refusal reports whether an immediate retry would bring the same error, and whether it would for every token of the
// identity.
func (*request) Refusal(err error) (definite, identity bool) {
	reason := ReasonOf(err)
	return !errors.Is(err, gate.ErrAbandoned) && reason.final(), reason.ofIdentity()
}

// Count adds the flight to the cache's numbers.
func (r *request) Count(_ *tokens.Flight, err error) {
	if !errors.Is(err, gate.ErrAbandoned) {
		r.cache.counts.add(err)
	}
}

// Landed writes a record of the flight's result. It keeps the token in the cache, even if its credential is freed.
func (r *request) Landed(_ *tokens.Flight, l tokens.Landing) {
	if l.Err == nil {
		r.keep(l.Token.ExpiresOn)
	} else if definite, _ := r.Refusal(l.Err); definite {
		r.keep(time.Now().Add(tokens.ReplayTime))
	}
	if errors.Is(l.Err, gate.ErrAbandoned) {
		return // nobody waits for the result
	}
	attributes := append(r.attributes(), "scope", r.scope, "took", l.Took, "tries", r.sent.Load())
	if err := r.forCaller(l.Err); err != nil {
		attributes = append(attributes, "reason", string(ReasonOf(err)), "error", err.Error())
	}
	switch {
	case l.Err == nil && l.Token.ClientID != "":
		r.log.write(slog.LevelDebug, "token received",
			append(attributes, "expires", l.Token.ExpiresOn, "clientID", l.Token.ClientID)...)
	case l.Err == nil:
		r.log.write(slog.LevelDebug, "token received", append(attributes, "expires", l.Token.ExpiresOn)...)
	case l.Left > 0:
		r.log.write(slog.LevelWarn, "token refresh failed", append(attributes, "left", l.Left)...)
	default:
		r.log.write(slog.LevelWarn, "token request failed", attributes...)
	}
}
