package managedid

import (
	"container/list"
	"fmt"
	"io"
	"maps"
	"runtime"
	"sync"
	"time"
	"weak"

	"github.com/managedid/managedid/internal/gate"
	"github.com/managedid/managedid/internal/tokens"
)

// TokenCache keeps tokens in memory, and what belongs to them: the requests under way and what is known of the
// endpoints. Credentials that are given the same cache share all of it. The zero value is ready to use. A TokenCache
// is safe for concurrent use, needs no closing and has no goroutine at rest.
//
// What no credential refers to is dropped: at once where it holds nothing valid, else the least recently used first
// beyond 4,096 identities.
type TokenCache struct {
	refreshBefore time.Duration
	counts        counts

	mu    sync.Mutex
	sets  weakMap[tokens.Set] // by identity; guarded by mu, as is the rest
	gates weakMap[gate.Gate]  // by endpoint
	// held are the sets with a valid token and the gates that are closed, which must outlive the credentials that
	// used them, the last used first.
	held  list.List
	holds shrinking[any, *list.Element]
	sweep *time.Timer
	swept time.Time // when sweep fires
}

// weakMap finds what somebody refers to.
type weakMap[T any] = shrinking[string, weak.Pointer[T]]

// shrinking is a map whose memory goes with its elements, as a map's does not.
type shrinking[K comparable, V any] struct {
	m       map[K]V
	deleted int // since it was made
}

func (s *shrinking[K, V]) set(k K, v V) {
	if s.m == nil {
		s.m = map[K]V{}
	}
	s.m[k] = v
}

func (s *shrinking[K, V]) delete(k K) {
	delete(s.m, k)
	if s.deleted++; s.deleted > len(s.m)+64 {
		kept := make(map[K]V, len(s.m))
		maps.Copy(kept, s.m)
		s.m, s.deleted = kept, 0
	}
}

// maxHeld is how many identities keep their tokens without a credential.
const maxHeld = 4096

// hold is an element of TokenCache.held.
type hold struct {
	what  any         // *tokens.Set or *gate.Gate
	with  *credential // whose it is; nil: anybody's
	until time.Time
}

// Format prints the type alone, with every verb: the rest changes while the cache is in use.
func (c *TokenCache) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "TokenCache") }

// TokenCacheOptions are the options of NewTokenCache. The zero value is the default.
type TokenCacheOptions struct {
	// RefreshBefore is how long before its expiry a token is refreshed, so how long an outage of the endpoint is
	// survived. Zero means five minutes and, at random, up to five more, or a tenth of the token's time if that is
	// less, so that processes that were started together don't ask together for ever. Any other value is kept to, but
	// is five minutes at least.
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

// processCache serves the credentials that have nothing of their own, so that one made for each request costs no
// request.
var processCache TokenCache

func (c *TokenCache) set(identity string) *tokens.Set {
	return lookUp(c, (*TokenCache).setsByIdentity, identity, func() *tokens.Set { return &tokens.Set{RefreshBefore: c.refreshBefore} })
}

func (c *TokenCache) gate(endpoint string, limits gate.Config) *gate.Gate {
	return lookUp(c, (*TokenCache).gatesByEndpoint, endpoint, func() *gate.Gate { return gate.New(limits) })
}

func (c *TokenCache) setsByIdentity() *weakMap[tokens.Set] { return &c.sets }
func (c *TokenCache) gatesByEndpoint() *weakMap[gate.Gate] { return &c.gates }

// lookUp finds or makes what a key names. It is forgotten when nothing refers to it any more.
func lookUp[T any](c *TokenCache, of func(*TokenCache) *weakMap[T], key string, create func() *T) *T {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := of(c)
	if found := m.m[key].Value(); found != nil {
		return found
	}
	made := create()
	pointer, cache := weak.Make(made), weak.Make(c) // weak, so that a cache goes with its credentials
	m.set(key, pointer)
	runtime.AddCleanup(made, func(key string) {
		c := cache.Value()
		if c == nil {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if m := of(c); m.m[key] == pointer { // else there is a new one
			m.delete(key)
		}
	}, key)
	return made
}

// hold keeps a set or a gate until a time, and its credential with it, though nobody may refer to them.
func (c *TokenCache) hold(what any, with *credential, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.holds.m[what]; e != nil {
		h := e.Value.(*hold)
		if until.After(h.until) {
			h.until = until
		}
		c.held.MoveToFront(e)
	} else {
		c.holds.set(what, c.held.PushFront(&hold{what, with, until}))
	}
	if c.held.Len() > maxHeld {
		c.release(c.held.Back())
	}
	if c.sweep == nil {
		c.sweepAt(until)
	} else if until.Before(c.swept.Add(-time.Second)) && c.sweep.Stop() {
		c.sweepAt(until)
	}
}

// sweepAt lets go at a time of what has expired then. The caller holds mu.
func (c *TokenCache) sweepAt(t time.Time) {
	cache, wait := weak.Make(c), max(time.Until(t), time.Second)
	c.swept = time.Now().Add(wait)
	c.sweep = time.AfterFunc(wait, func() {
		if c := cache.Value(); c != nil {
			c.releaseExpired()
		}
	})
}

func (c *TokenCache) release(e *list.Element) {
	c.held.Remove(e)
	c.holds.delete(e.Value.(*hold).what)
}

// releaseExpired lets go of what holds nothing valid any more, and comes again when the next does.
func (c *TokenCache) releaseExpired() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep = nil
	now := time.Now()
	var next time.Time
	for e := c.held.Front(); e != nil; {
		h, following := e.Value.(*hold), e.Next()
		if !now.Before(h.until) {
			c.release(e)
		} else if next.IsZero() || h.until.Before(next) {
			next = h.until
		}
		e = following
	}
	if !next.IsZero() {
		c.sweepAt(next)
	}
}
