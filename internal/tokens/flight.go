package tokens

import (
	"context"
	"sync/atomic"
	"time"
)

// FlightLimit is how long a flight takes at most, with all its tries and waiting.
const FlightLimit = 3 * time.Minute

// Request is what a caller wants of an entry, and what its flight does if it begins one. Its methods may take long,
// but for Claims.
type Request interface {
	// Claims is the challenge that the token must have been asked for with; "" accepts any.
	Claims() string
	// Fetch gets the token. Its context ends when the flight's time is over.
	Fetch(ctx context.Context, f *Flight) (Token, error)
	// Overdue is the error of a flight whose time is over.
	Overdue(f *Flight) error
	// Crashed is the error of a flight whose Fetch panicked with a value, or for nil ended its goroutine.
	Crashed(value any) error
	// Refusal tells whether asking again at once would bring the same error, and whether that is so for all tokens of
	// the identity.
	Refusal(err error) (definite, identity bool)
	// Count is called before the waiters have the result, and before the token is in its place.
	Count(f *Flight, err error)
	// Landed is called after them.
	Landed(f *Flight, l Landing)
}

// Landing is what came of a flight.
type Landing struct {
	Token Token
	Err   error
	Took  time.Duration
	Left  time.Duration // how long the token is valid that the callers have without this one
}

// Flight is one request for a token, however many wait for it.
type Flight struct {
	Request Request
	Began   time.Time
	// Challenged is the valid token that its claims found in the entry, or "".
	Challenged string
	// Refreshes is the valid token that callers have meanwhile, or nil.
	Refreshes *Token

	entry  *Entry
	number int // of the entry's flights
	cancel context.CancelFunc
	landed atomic.Bool
	done   chan struct{} // closed when the rest is final
	token  *Token
	err    error
}

// Done is closed when the flight has a result.
func (f *Flight) Done() <-chan struct{} { return f.done }

// Result returns the token or the error of a flight that is done.
func (f *Flight) Result() (*Token, error) { return f.token, f.err }

// Cancel ends a flight that nobody waits for.
func (f *Flight) Cancel() { f.cancel() }

// begin starts a flight. t is the valid token that it refreshes, or nil. The caller holds mu.
func (e *Entry) begin(now time.Time, r Request, t *Token) *Flight {
	ctx, cancel := context.WithDeadline(context.Background(), now.Add(FlightLimit))
	e.flights++
	f := &Flight{Request: r, Began: now, Refreshes: t, entry: e, number: e.flights, cancel: cancel, done: make(chan struct{})}
	if t := e.current.Load(); r.Claims() != "" && t.Freshness(now) != Expired {
		f.Challenged = t.Token
	}
	if e.underway == nil {
		e.underway = map[string]*Flight{}
	}
	e.underway[r.Claims()] = f
	go f.fly(ctx)
	return f
}

// fly fetches the token and lands. Who waits is not left hanging where Fetch ignores its context, panics or ends its
// goroutine.
func (f *Flight) fly(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { f.land(Token{}, f.Request.Overdue(f)) })
	var fetched Token
	var err error
	returned := false
	defer func() {
		if !returned {
			fetched, err = Token{}, f.Request.Crashed(recover())
		}
		stop()
		f.land(fetched, err)
		f.cancel()
	}()
	fetched, err = f.Request.Fetch(ctx, f)
	returned = true
}

// land publishes what came of the flight, unless it has done so before, then tells the request.
func (f *Flight) land(fetched Token, err error) {
	if !f.landed.CompareAndSwap(false, true) {
		return
	}
	f.Request.Count(f, err)
	definite, identity := false, false
	if err != nil {
		definite, identity = f.Request.Refusal(err)
	}
	now := time.Now()
	l := Landing{Token: fetched, Err: err, Took: now.Sub(f.Began)}
	if old := f.entry.Usable(now, f.Request); old != nil {
		l.Left = old.Left(now)
	}
	f.entry.settle(now, f, fetched, err, definite, identity)
	f.Request.Landed(f, l)
}

// settle puts the token, or the refusal, into its place, and wakes who waits.
func (e *Entry) settle(now time.Time, f *Flight, fetched Token, err error, definite, identity bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old, claims := e.current.Load(), f.Request.Claims()
	newer := old != nil && old.Flight > f.number // asked for after this one
	if f.err = err; err == nil {
		fetched.Claims, fetched.Flight, fetched.Asked = claims, f.number, f.Began
		f.token = fetched.Planned(now, e.set.refreshBefore(fetched.ExpiresOn.Sub(now)))
		if !newer || claims != "" && old.Claims == "" { // unless it answers a challenge that the newer one doesn't
			e.current.Store(f.token)
			e.refusals = nil
		}
	} else if state := old.Freshness(now); (state == Due || state == Urgent) && (claims == "" || claims == old.Claims) {
		e.current.Store(old.Paused(now)) // a fresh one's plan stands, and so does that of one with other claims
	}
	if definite && !newer {
		e.forget(now)
		if e.refusals == nil {
			e.refusals = map[string]refusal{}
		}
		e.refusals[claims] = refusal{err, identity, now.Add(ReplayTime)}
	}
	if e.underway[claims] == f {
		delete(e.underway, claims)
	}
	close(f.done)
}
