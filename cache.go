package managedid

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	flightLimit = 3 * time.Minute // of one flight, with all its tries and waiting
	replayTime  = time.Second     // how long a definite refusal is repeated to new callers
)

// TokenCache keeps tokens in memory, and what belongs to them: the requests under way and what is known of the
// endpoints. Credentials that are given the same cache share all of it. The zero value is ready to use. A TokenCache
// is safe for concurrent use, needs no closing and has no goroutine at rest.
type TokenCache struct {
	refreshBefore time.Duration
	counts        counts

	mu         sync.Mutex
	identities map[string]*identity // guarded by mu
	endpoints  map[string]*endpoint // guarded by mu
}

// Format prints the type alone, with every verb: the rest changes while the cache is in use.
func (c *TokenCache) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "TokenCache") }

// TokenCacheOptions are the options of NewTokenCache. The zero value is the default.
type TokenCacheOptions struct {
	// RefreshBefore is how long before its expiry a token is refreshed, so how long an outage of the endpoint is
	// survived. Zero means five minutes and, at random, up to five more, or a tenth of the token's time if that is less, so that
	// processes that were started together don't ask together for ever. Any other value is kept to, but is five minutes at least.
	RefreshBefore time.Duration
}

// NewTokenCache makes a cache to share between credentials. Pass nil for defaults.
func NewTokenCache(options *TokenCacheOptions) *TokenCache {
	c := &TokenCache{}
	if options != nil {
		c.refreshBefore = options.RefreshBefore
	}
	return c
}

// processCache serves the credentials that have nothing of their own, so that one made for each request costs no request.
var processCache TokenCache

func (c *TokenCache) identity(key string) *identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.identities == nil {
		c.identities = map[string]*identity{}
	}
	i := c.identities[key]
	if i == nil {
		i = &identity{refreshBefore: c.refreshBefore, counts: &c.counts}
		c.identities[key] = i
	}
	return i
}

func (c *TokenCache) endpoint(key string, l limits) *endpoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.endpoints == nil {
		c.endpoints = map[string]*endpoint{}
	}
	e := c.endpoints[key]
	if e == nil {
		e = &endpoint{gate: gate{limits: l}}
		c.endpoints[key] = e
	}
	return e
}

// identity holds the tokens of one identity: the key of its map is the scope as the caller gave it.
type identity struct {
	refreshBefore time.Duration // zero: at random
	counts        *counts       // of the cache
	entries       sync.Map      // scope → *entry; different spellings of a scope share one entry

	mu      sync.Mutex
	size    int // entries at most; guarded by mu
	sweepAt int // size at which expired entries go; guarded by mu
	sweeps  int // so far; guarded by mu
}

// refreshBeforeOf says how long before its expiry a token is refreshed that has this much time left.
func (i *identity) refreshBeforeOf(left time.Duration) time.Duration {
	if i.refreshBefore != 0 {
		return max(i.refreshBefore, defaultRefreshBefore)
	}
	return defaultRefreshBefore + rand.N(min(max(left/10, 0), defaultRefreshBefore)+1)
}

// entry is the place of one token.
type entry struct {
	current atomic.Pointer[token] // read without a lock, written under mu

	mu       sync.Mutex
	underway map[string]*flight // by the claims that they ask for; guarded by mu, as is the rest
	flights  int                // begun so far
	refusals map[string]refusal // the last definite ones, by the claims that they are of
	swept    int                // the last sweep that decided about it
	gone     bool               // dropped from its map: look again
}

// entry returns the place for a scope's token. Scopes that the source takes for the same one lead to the same place.
func (i *identity) entry(given, scope string) *entry {
	if e, ok := i.entries.Load(given); ok {
		return e.(*entry)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.size >= i.sweepAt {
		i.sweep(time.Now())
	}
	e, old := i.entries.LoadOrStore(scope, &entry{})
	if !old {
		i.size++
	}
	if _, old = i.entries.LoadOrStore(given, e); !old {
		i.size++
	}
	return e.(*entry)
}

// sweep drops entries that hold nothing of use. Its cost is spread: it runs again when the map has doubled.
func (i *identity) sweep(now time.Time) {
	i.size = 0
	i.sweeps++
	i.entries.Range(func(scope, e any) bool {
		if e.(*entry).drop(i.sweeps, now) {
			i.entries.Delete(scope)
		} else {
			i.size++
		}
		return true
	})
	i.sweepAt = max(2*i.size, 64)
}

// drop decides about an entry at the first of its keys that a sweep meets: its flight may land before the next.
func (e *entry) drop(sweep int, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.swept != sweep {
		e.swept = sweep
		e.forget(now)
		e.gone = e.gone || len(e.underway) == 0 && e.current.Load().freshness(now) == expired && len(e.refusals) == 0
	}
	return e.gone
}

// refusal is repeated to new callers for some time.
type refusal struct {
	err   error
	until time.Time
}

// refused returns the refusal that answers an order: its own, or one of the identity. The caller holds mu.
func (e *entry) refused(now time.Time, claims string) error {
	if r := e.refusals[claims]; now.Before(r.until) {
		return r.err
	}
	for _, r := range e.refusals {
		if now.Before(r.until) && ReasonOf(r.err).ofIdentity() {
			return r.err
		}
	}
	return nil
}

var errGone = errors.New("the entry was swept")

// join returns what a caller goes on with: the valid token or nil, and the flight to wait for or nil. It begins a
// flight where one is needed.
func (e *entry) join(now time.Time, o *order) (*token, *flight, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.current.Load()
	state := t.freshness(now)
	switch {
	case e.gone:
		return nil, nil, errGone
	case t != nil && !o.takes(t, now):
		t, state = nil, expired
	case state == fresh:
		return t, nil, nil
	case state == expired:
		t = nil
	}
	if err := e.refused(now, o.claims); t == nil && err != nil {
		return nil, nil, err
	}
	f := e.underway[o.claims]
	if f == nil {
		f = e.begin(now, now.Add(flightLimit), o)
	} else if resting := f; o.probe && resting.resting.Load() && !resting.last {
		deadline := now.Add(connectLimit + answerLimit) // what the new try needs at least
		last := resting.deadline.Before(deadline)
		if !last {
			deadline = resting.deadline
		}
		f = e.begin(now, deadline, resting.order)
		f.last, f.waiters, resting.next = last, resting.waiters, f
		resting.cancel()
	}
	if state == due {
		return t, nil, nil
	}
	f.waiters++
	return t, f, nil
}
