package tokens

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Set has the tokens of one identity, by scope. The zero value is ready to use.
type Set struct {
	// RefreshBefore is how long before its expiry a token is refreshed. Zero means five minutes plus a random part: up
	// to five minutes, or up to a tenth of the token's lifetime if that is less. It must be set before the first use.
	RefreshBefore time.Duration

	entries sync.Map // scope as the caller gave it → *Entry; several spellings share one entry

	mu    sync.Mutex
	all   []*Entry // guarded by mu, as are all fields below
	sweep int      // the next entry that dropSome looks at
}

// Format prints only the name of the type, whatever the verb. The rest is secret, or changes while the set is in use.
func (s *Set) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "Set") }

// Hit returns the token of a scope if it is fresh, else nil. It takes no lock and allocates nothing.
func (s *Set) Hit(scope string, now time.Time) *Token {
	if e, ok := s.entries.Load(scope); ok {
		if t := e.(*Entry).current.Load(); t.IsFresh(now) {
			return t
		}
	}
	return nil
}

// Entry returns the entry of a scope. name is the source's name for the scope: scopes with the same name share an
// entry.
func (s *Set) Entry(scope, name string) *Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.dropSome(now)
	if e, ok := s.entries.Load(scope); ok {
		e.(*Entry).asked = now
		return e.(*Entry)
	}
	e, found := s.entries.LoadOrStore(name, &Entry{set: s, scopes: []string{name}})
	entry := e.(*Entry)
	entry.asked = now
	if !found {
		s.all = append(s.all, entry)
	}
	if scope != name {
		if _, found := s.entries.LoadOrStore(scope, entry); !found {
			entry.scopes = append(entry.scopes, scope)
		}
	}
	return entry
}

// dropSome drops entries that hold nothing of use. It looks at a few in each call, so that no call pays for all.
func (s *Set) dropSome(now time.Time) {
	for range min(4, len(s.all)) {
		s.sweep %= len(s.all)
		e := s.all[s.sweep]
		if now.Sub(e.asked) < ReplayTime || !e.drop(now) {
			s.sweep++
			continue
		}
		for _, scope := range e.scopes {
			s.entries.Delete(scope)
		}
		s.all = slices.Delete(s.all, s.sweep, s.sweep+1)
		if len(s.all) == 0 {
			return
		}
	}
}

// Tokens calls f with each valid token.
func (s *Set) Tokens(now time.Time, f func(*Token)) {
	s.mu.Lock()
	all := slices.Clone(s.all)
	s.mu.Unlock()
	for _, e := range all {
		if t := e.current.Load(); t.Freshness(now) != Expired {
			f(t)
		}
	}
}

// refreshBefore returns how long before its expiry a token is refreshed. left is how long the token is valid.
func (s *Set) refreshBefore(left time.Duration) time.Duration {
	if s.RefreshBefore != 0 {
		return s.RefreshBefore
	}
	return DefaultRefreshBefore + rand.N(min(max(left/10, 0), DefaultRefreshBefore)+1)
}
