package managedid

import (
	"container/list"
	"fmt"
	"io"
	"maps"
	"reflect"
	"runtime"
	"sync"
	"time"
	"weak"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/managedid/managedid/internal/gate"
	"github.com/managedid/managedid/internal/tokens"
)

// TokenCache keeps tokens in memory, with the requests that are under way and the state of the endpoints. Credentials
// with the same cache share all of this. The zero value is ready to use. A TokenCache is safe for concurrent use, needs
// no closing and has no goroutine while idle.
//
// A cache drops what no credential refers to. It drops an identity without a valid token at once. Beyond 4,096
// identities with valid tokens, it drops the least recently used first.
type TokenCache struct {
	refreshBefore time.Duration
	counts        counts

	mu    sync.Mutex
	sets  weakMap[identityKey, tokens.Set] // guarded by mu, as are all fields below
	gates weakMap[endpointKey, gate.Gate]
	// held has the sets with a valid token and the gates that are closed, the most recently used first. They must
	// outlive the credentials that used them.
	held  list.List
	holds shrinking[any, *list.Element]
	sweep *time.Timer
	swept time.Time // when sweep fires
}

// weakMap finds values that something else refers to. It does not keep them alive.
type weakMap[K comparable, T any] = shrinking[K, weak.Pointer[T]]

// shrinking is a map that frees memory when elements are deleted, which a Go map does not.
type shrinking[K comparable, V any] struct {
	m       map[K]V
	deleted int // since m was made
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

// maxHeld is the largest number of sets and gates that a cache keeps without a credential.
const maxHeld = 4096

// hold is an element of TokenCache.held: a reference that keeps a set or a gate alive.
type hold struct {
	what  any // *tokens.Set or *gate.Gate
	with  any // with is the credential that finds what. Nil means that any credential with the same key finds it.
	until time.Time
}

// Format prints only the name of the type, whatever the verb. The rest changes while the cache is in use.
func (c *TokenCache) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "TokenCache") }

// TokenCacheOptions are the options of NewTokenCache. The zero value is the default.
type TokenCacheOptions struct {
	// RefreshBefore is how long before its expiry a token is refreshed, and so how long an outage of the endpoint may
	// last without an effect. Zero means five minutes plus a random part: up to five minutes, or up to a tenth of the
	// token's lifetime if that is less. The random part keeps processes that started together from requesting tokens
	// together. The minimum is five minutes, and a smaller or negative value counts as that.
	RefreshBefore time.Duration
}

// NewTokenCache returns a cache that several credentials can share. Nil options mean defaults.
func NewTokenCache(options *TokenCacheOptions) *TokenCache {
	c := &TokenCache{}
	if options != nil {
		c.refreshBefore = options.RefreshBefore
		if c.refreshBefore != 0 {
			c.refreshBefore = max(c.refreshBefore, tokens.DefaultRefreshBefore)
		}
	}
	return c
}

// processCache serves the credentials that have no cache and no pipeline options of their own. A program that makes a
// credential for each request still shares tokens between them.
var processCache TokenCache

// ProcessCache returns the cache of the process. A credential uses it if its options name no cache and set no
// Transport, policies or retry options. Its [TokenCache.Stats] are for metrics.
func ProcessCache() *TokenCache { return &processCache }

func (c *TokenCache) set(key identityKey) *tokens.Set {
	return lookUp(c, (*TokenCache).setsByIdentity, key, func() *tokens.Set {
		return &tokens.Set{RefreshBefore: c.refreshBefore}
	})
}

func (c *TokenCache) gate(key endpointKey, limits gate.Config) *gate.Gate {
	return lookUp(c, (*TokenCache).gatesByEndpoint, key, func() *gate.Gate { return gate.New(limits) })
}

func (c *TokenCache) setsByIdentity() *weakMap[identityKey, tokens.Set] { return &c.sets }
func (c *TokenCache) gatesByEndpoint() *weakMap[endpointKey, gate.Gate] { return &c.gates }

// lookUp finds or makes the value of a key. The cache forgets the value when nothing else refers to it.
func lookUp[K comparable, T any](c *TokenCache, mapOf func(*TokenCache) *weakMap[K, T], key K, create func() *T) *T {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := mapOf(c)
	if found := m.m[key].Value(); found != nil {
		return found
	}
	made := create()
	pointer, cache := weak.Make(made), weak.Make(c) // weak, so that the cache is freed with its credentials
	m.set(key, pointer)
	runtime.AddCleanup(made, func(key K) {
		c := cache.Value()
		if c == nil {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if m := mapOf(c); m.m[key] == pointer { // otherwise a new value has taken its place
			m.delete(key)
		}
	}, key)
	return made
}

// hold keeps a set or a gate, and the credential that finds it, until a time, even if nothing else refers to them.
func (c *TokenCache) hold(what any, with any, until time.Time) {
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

// sweepAt schedules releaseExpired for a time. The caller holds mu.
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

// releaseExpired drops what has expired, and schedules itself for the next expiry.
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

// cacheFor returns the cache that a credential uses. named is the one from its options, or nil.
func cacheFor(named *TokenCache, options *azcore.ClientOptions) *TokenCache {
	if named != nil {
		return named
	} else if isCustom(options) {
		return &TokenCache{}
	}
	return &processCache
}

// isCustom reports whether options change how requests are sent. Credentials with such options must not share tokens
// with others.
func isCustom(o *azcore.ClientOptions) bool {
	return o.Transport != nil || len(o.PerCallPolicies)+len(o.PerRetryPolicies) > 0 ||
		!reflect.ValueOf(o.Retry).IsZero()
}
