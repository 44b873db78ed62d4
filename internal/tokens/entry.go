package tokens

import (
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// ReplayTime is how long a definite refusal is repeated to new callers.
const ReplayTime = time.Second

// Entry holds one token.
type Entry struct {
	set     *Set
	scopes  []string              // the scopes that lead to the entry; guarded by set.mu
	asked   time.Time             // when a caller last looked it up; guarded by set.mu
	current atomic.Pointer[Token] // read without a lock, written under mu

	mu       sync.Mutex
	underway map[string]*Flight // by their claims; guarded by mu, as are all fields below
	flights  int                // number of flights so far
	refusals map[string]refusal // the last definite refusals, by their claims
	gone     bool               // dropped from its set, so its user must look again
}

// refusal is an error that is repeated to new callers until a time.
type refusal struct {
	err      error
	identity bool // the identity was refused, whatever the token
	until    time.Time
}

// ErrGone says that the set has dropped the entry, so its user must call [Set.Entry] again.
var ErrGone = errors.New("the entry was dropped")

// takes reports whether a token answers a request's challenge. It does if it was requested with the same challenge less
// than MinPause ago. A caller that comes later with the same challenge was refused with this very token.
func takes(r Request, t *Token, now time.Time) bool {
	claims := r.Claims()
	return claims == "" || claims == t.Claims && now.Sub(t.Asked) < MinPause
}

// Usable returns the current token if it is valid and answers the request's challenge, else nil.
func (e *Entry) Usable(now time.Time, r Request) *Token {
	if t := e.current.Load(); t.Freshness(now) != Expired && takes(r, t, now) {
		return t
	}
	return nil
}

// Underway returns the flight that a request would join, or nil if there is none.
func (e *Entry) Underway(r Request) *Flight {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.underway[r.Claims()]
}

// Join returns the valid token or nil, and the flight that the caller should wait for or nil. It begins a flight if one
// is needed. The error is ErrGone, or a refusal that is repeated.
func (e *Entry) Join(now time.Time, r Request) (*Token, *Flight, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.current.Load()
	state := t.Freshness(now)
	switch {
	case e.gone:
		return nil, nil, ErrGone
	case t != nil && !takes(r, t, now):
		t, state = nil, Expired
	case state == Fresh:
		return t, nil, nil
	case state == Expired:
		t = nil
	}
	if err := e.refused(now, r.Claims()); t == nil && err != nil {
		return nil, nil, err
	}
	f := e.underway[r.Claims()]
	if f == nil {
		f = e.begin(now, r, t)
	}
	if state == Due {
		return t, nil, nil
	}
	return t, f, nil
}

// refused returns the refusal that answers a request: one with its claims, or one of the identity. The caller holds mu.
func (e *Entry) refused(now time.Time, claims string) error {
	if r := e.refusals[claims]; now.Before(r.until) {
		return r.err
	}
	for _, r := range e.refusals {
		if now.Before(r.until) && r.identity {
			return r.err
		}
	}
	return nil
}

// forget drops the refusals whose time is over. The caller holds mu.
func (e *Entry) forget(now time.Time) {
	maps.DeleteFunc(e.refusals, func(_ string, r refusal) bool { return !now.Before(r.until) })
}

// drop marks the entry as gone if it holds nothing of use, and reports whether it did.
func (e *Entry) drop(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forget(now)
	e.gone = len(e.underway) == 0 && len(e.refusals) == 0 && e.current.Load().Freshness(now) == Expired
	return e.gone
}
