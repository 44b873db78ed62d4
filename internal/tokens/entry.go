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

// Entry is the place of one token.
type Entry struct {
	set     *Set
	scopes  []string              // that lead here; guarded by set.mu
	asked   time.Time             // when a caller last looked it up; likewise
	current atomic.Pointer[Token] // read without a lock, written under mu

	mu       sync.Mutex
	underway map[string]*Flight // by the claims that they ask for; guarded by mu, as is the rest
	flights  int                // begun so far
	refusals map[string]refusal // the last definite ones, by the claims that they are of
	gone     bool               // dropped from its set: look again
}

// refusal is repeated to new callers for some time.
type refusal struct {
	err      error
	identity bool // it is the identity that was refused, whatever was asked for
	until    time.Time
}

// ErrGone says that the set has dropped the entry; its user looks again.
var ErrGone = errors.New("the entry was dropped")

// takes tells whether a token answers a request's challenge: for a while after it was asked for, one that was asked
// for with it. Then who comes with the same challenge has had that token refused.
func takes(r Request, t *Token, now time.Time) bool {
	claims := r.Claims()
	return claims == "" || claims == t.Claims && now.Sub(t.Asked) < MinPause
}

// Usable returns the current token where it is valid and answers the request's challenge, else nil.
func (e *Entry) Usable(now time.Time, r Request) *Token {
	if t := e.current.Load(); t.Freshness(now) != Expired && takes(r, t, now) {
		return t
	}
	return nil
}

// Underway returns the flight that a request would join, or nil.
func (e *Entry) Underway(r Request) *Flight {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.underway[r.Claims()]
}

// Join returns what a caller goes on with: the valid token or nil, and the flight to wait for or nil. It begins a
// flight where one is needed. An error is ErrGone, or that of a refusal which is repeated.
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

// refused returns the refusal that answers a request: its own, or one of the identity. The caller holds mu.
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

// forget drops the refusals that are repeated no more. The caller holds mu.
func (e *Entry) forget(now time.Time) {
	maps.DeleteFunc(e.refusals, func(_ string, r refusal) bool { return !now.Before(r.until) })
}

// drop gives the entry up where it holds nothing of use.
func (e *Entry) drop(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forget(now)
	e.gone = len(e.underway) == 0 && len(e.refusals) == 0 && e.current.Load().Freshness(now) == Expired
	return e.gone
}
