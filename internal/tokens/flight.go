package tokens

import (
	"context"
	"sync/atomic"
	"time"
)

// FlightLimit is how long a flight takes at most, with all its tries and waiting.
const FlightLimit = 3 * time.Minute

// Request is what a caller wants of an entry. It also does the work of the flight that it begins. All methods except
// Claims may take long.
type Request interface {
	// Claims returns the challenge that the token must answer. "" accepts any token. The result never changes.
	Claims() string
	// Fetch gets the token. Its context ends when the flight's time is over.
	Fetch(ctx context.Context, f *Flight) (Token, error)
	// Overdue returns the error of a flight whose time is over.
	Overdue(f *Flight) error
	// Crashed returns the error of a flight whose Fetch panicked with a value. A nil value means that Fetch ended its
	// goroutine.
	Crashed(value any) error
	// Refusal reports whether an immediate retry would bring the same error, and whether that is so for every token of
	// the identity.
	Refusal(err error) (definite, identity bool)
	// Count is called before the token is published and before the waiting callers have the result.
	Count(f *Flight, err error)
	// Landed is called after both.
	Landed(f *Flight, l Landing)
}

// Landing is the result of a flight.
type Landing struct {
	Token Token
	Err   error
	Took  time.Duration
	Left  time.Duration // how long the token is valid that callers have without this one
}

// Flight is one request for a token, however many callers wait for it.
type Flight struct {
	Request Request
	Began   time.Time
	// Challenged is the valid token that the flight's claims refused, or "".
	Challenged string
	// Refreshes is the valid token that callers have meanwhile, or nil.
	Refreshes *Token

	entry  *Entry
	number int // its number among the entry's flights
	cancel context.CancelFunc
	landed atomic.Bool
	done   chan struct{} // closed when token and err are final
	token  *Token
	err    error
}

// Done returns a channel that is closed when the flight has a result.
func (f *Flight) Done() <-chan struct{} { return f.done }

// Result returns the token or the error of a flight that is done. Call it only after Done.
func (f *Flight) Result() (*Token, error) { return f.token, f.err }

// Cancel ends a flight that no caller waits for.
func (f *Flight) Cancel() { f.cancel() }

// begin starts a flight. t is the valid token that it refreshes, or nil. The caller holds mu.
func (e *Entry) begin(now time.Time, r Request, t *Token) *Flight {
	ctx, cancel := context.WithDeadline(context.Background(), now.Add(FlightLimit))
	e.flights++
	f := &Flight{Request: r, Began: now, Refreshes: t, entry: e, number: e.flights, cancel: cancel,
		done: make(chan struct{})}
	if current := e.current.Load(); r.Claims() != "" && current.Freshness(now) != Expired {
		f.Challenged = current.Token
	}
	if e.underway == nil {
		e.underway = map[string]*Flight{}
	}
	e.underway[r.Claims()] = f
	go f.fly(ctx)
	return f
}

// fly fetches the token and lands. It lands even if Fetch ignores its context, panics or ends its goroutine, so that no
// caller waits in vain.
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

// land publishes the result of the flight, then tells the request. Only the first call has an effect.
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

// settle publishes the token or the refusal, and wakes the waiting callers.
func (e *Entry) settle(now time.Time, f *Flight, fetched Token, err error, definite, identity bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old, claims := e.current.Load(), f.Request.Claims()
	newer := old != nil && old.Flight > f.number // requested after this one
	if f.err = err; err == nil {
		fetched.Claims, fetched.Flight, fetched.Asked = claims, f.number, f.Began
		f.token = fetched.Planned(now, e.set.refreshBefore(fetched.ExpiresOn.Sub(now)))
		if !newer || claims != "" && old.Claims == "" { // keep the newer one, unless only this one answers a challenge
			e.current.Store(f.token)
			e.refusals = nil
		}
	} else if state := old.Freshness(now); (state == Due || state == Urgent) && (claims == "" || claims == old.Claims) {
		// The plan of a fresh token stays, and so does that of a token for other claims.
		e.current.Store(old.Paused(now))
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
