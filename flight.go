package managedid

import (
	"context"
	"errors"
	"maps"
	"sync/atomic"
	"time"
)

// flight is one request for a token, however many wait for it.
type flight struct {
	order      *order
	number     int // of the entry's flights
	began      time.Time
	deadline   time.Time
	challenged string // the valid token that its claims found
	last       bool   // its deadline was put off once, so that it gives its place to no other
	cancel     context.CancelFunc
	// sending: a try is under way or has brought the token; resting: it failed, and the next one is not due yet
	sending, resting atomic.Bool
	tries            atomic.Int32  // requests that were sent
	missed           atomic.Bool   // a caller who left without a token is in a record
	waiters          int           // guarded by entry.mu
	abandoned        bool          // the last of them has left; likewise
	done             chan struct{} // closed when the rest is final
	next             *flight       // has taken over the waiters, if not nil
	token            *token
	err              error
}

// flightKey is the key by which a flight's context leads the throttle to the flight.
type flightKey struct{}

func flightOf(ctx context.Context) *flight {
	if f, ok := ctx.Value(flightKey{}).(*flight); ok {
		return f
	}
	return &flight{} // a policy of the user's has replaced the context
}

// order is what a caller wants of an entry, and what its flight would do.
type order struct {
	refreshBefore func(left time.Duration) time.Duration
	count         func(error)
	claims        string // a challenge that the token must have been asked for with; "" accepts any
	probe         bool   // a try now: the caller won't wait for one that rests
	span          func(context.Context) (context.Context, func(error))
	fetch         func(_ context.Context, challenged string) (token, error)
	overdue       func(context.Context) error // why a flight whose context has ended failed
	// report is called after the waiters have the result. left is how long the token is valid that is there without this one.
	report func(_ context.Context, _ token, _ error, took, left time.Duration)
}

// claimsUnsent stands for the challenges of all sources whose requests don't say what a challenge asks for.
const claimsUnsent = "unsent"

// takes tells whether a token answers the order's challenge. Where requests don't say what it asks for, a token does
// that was asked for just now: the endpoint has no other.
func (o *order) takes(t *token, now time.Time) bool {
	if o.claims == claimsUnsent {
		return t.claims == claimsUnsent && now.Sub(t.asked) < minPause
	}
	return o.claims == "" || o.claims == t.claims
}

// usable returns the current token where it is valid and takes the order's place.
func (e *entry) usable(now time.Time, o *order) *token {
	if t := e.current.Load(); t.freshness(now) != expired && o.takes(t, now) {
		return t
	}
	return nil
}

// instead returns the token that the flight of a challenge has brought meanwhile, or else the error.
func (e *entry) instead(now time.Time, f *flight, err error) (*token, error) {
	if t := e.usable(now, f.order); t != nil {
		return t, nil
	}
	return nil, err
}

// begin starts a flight. The caller holds mu.
func (e *entry) begin(now, deadline time.Time, o *order) *flight {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	e.flights++
	f := &flight{order: o, number: e.flights, began: now, deadline: deadline, cancel: cancel, done: make(chan struct{})}
	if t := e.current.Load(); o.claims != "" && t.freshness(now) != expired {
		f.challenged = t.Token
	}
	if e.underway == nil {
		e.underway = map[string]*flight{}
	}
	e.underway[o.claims] = f
	go e.fly(context.WithValue(ctx, flightKey{}, f), f)
	return f
}

// fly fetches the token, publishes it and wakes the waiters, who are not left hanging by a transport that
// ignores its context, panics or ends its goroutine, nor by a tracer that hangs. Logs come last: they may need a token themselves.
func (e *entry) fly(ctx context.Context, f *flight) {
	var fetched token
	end := func(error) {}
	err := error(&AuthenticationFailedError{Reason: ReasonNotReady, message: "managedid: the transport or the callback ended the goroutine of a request"})
	land := func(t token, failure error) (report func()) {
		now, old := time.Now(), e.current.Load()
		if old != nil && !f.order.takes(old, now) {
			old = nil // which helps nobody who wants this one
		}
		landed := e.land(f, t, failure)
		return func() {
			if landed {
				f.order.report(ctx, t, failure, now.Sub(f.began), old.left(now))
			}
		}
	}
	stop := context.AfterFunc(ctx, func() { land(token{}, f.order.overdue(ctx))() })
	defer func() {
		report := land(fetched, err)
		end(err)
		report()
		stop()
		f.cancel()
	}()
	traced, ended := f.order.span(ctx)
	end = ended
	fetched, err = f.order.fetch(traced, f.challenged)
}

// land publishes what came of a flight, unless it has done so before.
func (e *entry) land(f *flight, fetched token, err error) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-f.done:
		return false
	default:
	}
	if err == nil || f.next == nil && !f.abandoned {
		f.order.count(err)
	}
	now := time.Now()
	old := e.current.Load()
	switch {
	case err == nil:
		fetched.claims, fetched.flight, fetched.asked = f.order.claims, f.number, f.began
		f.token = fetched.planned(now, f.order.refreshBefore(fetched.ExpiresOn.Sub(now)))
		// a token gives way to none that was asked for before it, unless that answers a challenge
		if old == nil || old.flight < f.number || f.order.claims != "" && old.claims == "" {
			e.current.Store(f.token)
			e.refusals = nil
		}
	case f.next == nil:
		f.err = err
		state := old.freshness(now) // a fresh one's plan stands, and so does that of one with other claims
		if (state == due || state == urgent) && (f.order.claims == "" || f.order.claims == old.claims) {
			e.current.Store(old.paused(now))
		}
	}
	if newer := old != nil && old.flight > f.number; f.err != nil && ReasonOf(err).final() && !newer {
		e.refuse(now, f.order.claims, err)
	}
	if e.underway[f.order.claims] == f {
		delete(e.underway, f.order.claims)
	}
	close(f.done)
	return true
}

// refuse remembers a definite refusal. The caller holds mu.
func (e *entry) refuse(now time.Time, claims string, err error) {
	e.forget(now)
	if e.refusals == nil {
		e.refusals = map[string]refusal{}
	}
	e.refusals[claims] = refusal{err, now.Add(replayTime)}
}

// forget drops the refusals that are repeated no more. The caller holds mu.
func (e *entry) forget(now time.Time) {
	maps.DeleteFunc(e.refusals, func(_ string, r refusal) bool { return !now.Before(r.until) })
}

// leave takes a waiter from the flight. A flight to an endpoint that isn't there ends with its last waiter.
func (e *entry) leave(f *flight, absent bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for f.next != nil {
		f = f.next
	}
	f.waiters--
	if absent && f.waiters == 0 && e.underway[f.order.claims] == f {
		delete(e.underway, f.order.claims)
		f.abandoned = true
		f.cancel()
	}
}

// missed puts into a record, once a flight, that a caller left without a token, where it is known why there was none yet.
func (c *credential) missed(ctx context.Context, f *flight, scope string, err error) {
	if c.logger != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) && ReasonOf(err) != "" && f.missed.CompareAndSwap(false, true) {
		go c.logger.Warn("caller left without a token", append(c.attributes(), "scope", scope, "reason", string(ReasonOf(err)), "error", err.Error())...)
	}
}
