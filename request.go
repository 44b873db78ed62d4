package managedid

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	azruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/tracing"

	"github.com/managedid/managedid/internal/gate"
	"github.com/managedid/managedid/internal/tokens"
)

// request is what a caller wants, and what its flight does if it begins one.
type request struct {
	*credential
	ask
	claims string // names the challenge in the cache
	ticket *gate.Ticket
	first  *gate.Caller // who made it

	tries     atomic.Int32 // requests that were sent
	tried     atomic.Int64 // when the last one was, see sinceStart
	preparing atomic.Bool  // a request is being made, by a callback or with a file
	missed    atomic.Bool  // a caller who left without a token is in a record
	dropped   atomic.Bool  // its last caller has left, since the endpoint isn't there

	crashed error // of a guest that ended the goroutine of Fetch, which alone uses it

	mu         sync.Mutex
	goroutines []uint64 // that run guests for it; guarded by mu
}

var _ tokens.Request = (*request)(nil)

// claimsUnsent stands for the challenges of all sources whose requests don't say what a challenge asks for.
const claimsUnsent = "unsent"

// want makes the request of a caller.
func (c *credential) want(ctx context.Context, a ask) *request {
	r := &request{credential: c, ask: a, claims: a.claims}
	if a.claims != "" && !c.source.sendsClaims {
		r.claims = claimsUnsent
	}
	deadline, _ := ctx.Deadline()
	r.ticket, r.first = c.gate.Ticket(deadline)
	r.tried.Store(math.MinInt64)
	return r
}

func (r *request) Claims() string { return r.claims }

// Fetch gets the token, in a span.
func (r *request) Fetch(ctx context.Context, f *tokens.Flight) (t tokens.Token, err error) {
	defer r.mine()()
	if f.Refreshes != nil {
		r.ticket.Keep(time.Now().Add(f.Refreshes.Left(time.Now())))
	}
	ctx, end := azruntime.StartSpan(ctx, r.name+".GetToken", r.client.Tracer(), &azruntime.StartSpanOptions{Attributes: []tracing.Attribute{
		{Key: "managedid.source", Value: r.source.name}, {Key: "managedid.identity", Value: r.source.subject}, {Key: "managedid.scope", Value: r.scope}}})
	ctx = withCrashed(ctx, &r.crashed)
	err = crash{listening} // unless it returns
	defer func() { end(err) }()
	a := r.ask
	a.challenged = f.Challenged
	if r.run != nil {
		t, err = r.run(ctx, a)
	} else {
		t, err = r.fetch(ctx, r, a)
	}
	return t, err
}

// Overdue is the error of a flight that took too long, or whose last caller has left.
func (r *request) Overdue(*tokens.Flight) error {
	if r.dropped.Load() {
		return gate.ErrAbandoned
	}
	return r.overdue()
}

func (r *request) Crashed(any) error {
	if c, ok := r.crashed.(crash); ok {
		return c.of(r.who)
	}
	return r.log.crash(listening).of(r.who)
}

func (*request) Refusal(err error) (definite, identity bool) {
	reason := ReasonOf(err)
	return !errors.Is(err, gate.ErrAbandoned) && reason.final(), reason.ofIdentity()
}

func (r *request) Count(_ *tokens.Flight, err error) {
	if !errors.Is(err, gate.ErrAbandoned) {
		r.cache.counts.add(err)
	}
}

// Landed records what came of the flight, and keeps the token though the credential may go.
func (r *request) Landed(_ *tokens.Flight, l tokens.Landing) {
	if l.Err == nil {
		r.cache.hold(r.tokens, r.findable, l.Token.ExpiresOn)
	} else if definite, _ := r.Refusal(l.Err); definite {
		r.cache.hold(r.tokens, r.findable, time.Now().Add(tokens.ReplayTime))
	}
	if errors.Is(l.Err, gate.ErrAbandoned) {
		return // nobody was left to want it
	}
	of := append(r.attributes(), "scope", r.scope, "took", l.Took, "tries", r.tries.Load())
	if err := r.own(l.Err); err != nil {
		of = append(of, "reason", string(ReasonOf(err)), "error", err.Error())
	}
	switch {
	case l.Err == nil && l.Token.ClientID != "":
		r.log.write(slog.LevelDebug, "token received", append(of, "expires", l.Token.ExpiresOn, "clientID", l.Token.ClientID)...)
	case l.Err == nil:
		r.log.write(slog.LevelDebug, "token received", append(of, "expires", l.Token.ExpiresOn)...)
	case l.Left > 0:
		r.log.write(slog.LevelWarn, "token refresh failed", append(of, "left", l.Left)...)
	default:
		r.log.write(slog.LevelWarn, "token request failed", of...)
	}
}

// attributes say in records whose tokens are meant.
func (c *credential) attributes() []any {
	return []any{"credential", c.name, "source", c.source.name, "identity", c.source.subject}
}

// mine notes that the current goroutine runs guests for the request, until the returned function is called.
func (r *request) mine() func() {
	id := goroutineID()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.goroutines = append(r.goroutines, id)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for i, other := range r.goroutines {
			if other == id {
				r.goroutines = append(r.goroutines[:i], r.goroutines[i+1:]...)
				break
			}
		}
	}
}

// isMine tells whether the current goroutine runs a guest for the request, such as a log listener, so that it can't
// wait for it.
func (r *request) isMine() bool {
	id := goroutineID()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, other := range r.goroutines {
		if other == id {
			return true
		}
	}
	return false
}

// goroutineID reads "goroutine 18 [running]:". Nothing else tells a guest who asks for the token that it is part of
// from other callers, since azcore gives its listeners no context.
func goroutineID() uint64 {
	var stack [64]byte
	line := bytes.TrimPrefix(stack[:runtime.Stack(stack[:], false)], []byte("goroutine "))
	number, _, _ := bytes.Cut(line, []byte(" "))
	id, _ := strconv.ParseUint(string(number), 10, 64)
	return id
}
