package managedid

import (
	"maps"
	"sync"
	"time"

	"github.com/managedid/managedid/internal/gate"
	"github.com/managedid/managedid/internal/tokens"
)

// CacheStats are the numbers of a [TokenCache], for metrics. A zero time means that there is no such time.
type CacheStats struct {
	// Tokens is the number of valid tokens.
	Tokens int `json:"tokens"`
	// Acquisitions is the number of tokens received. Failures is the number of token requests that failed with retries
	// exhausted, by reason; "" means a refusal for an unknown reason. A request that every caller has left counts in
	// neither.
	Acquisitions uint64            `json:"acquisitions"`
	Failures     map[Reason]uint64 `json:"failures,omitempty"`
	// ThrottledUntil is the latest end of the pauses that endpoints asked for.
	ThrottledUntil time.Time `json:"throttledUntil,omitzero"`
	// NextRefresh is the earliest time at which a call refreshes a token. It may be in the past, if there was no call
	// since.
	NextRefresh time.Time `json:"nextRefresh,omitzero"`
	// EarliestExpiry is the earliest expiry of a token.
	EarliestExpiry time.Time `json:"earliestExpiry,omitzero"`
}

// Stats returns the numbers of the cache. It looks at every token, so call it only a few times a minute. [ProcessCache]
// returns the cache of the process.
func (c *TokenCache) Stats() CacheStats {
	now := time.Now()
	s := c.counts.copy()
	var sets []*tokens.Set
	var gates []*gate.Gate
	c.mu.Lock()
	for _, set := range c.sets.m {
		sets = append(sets, set.Value())
	}
	for _, g := range c.gates.m {
		gates = append(gates, g.Value())
	}
	c.mu.Unlock()
	for _, set := range sets {
		if set == nil {
			continue // nothing refers to it any more
		}
		set.Tokens(now, func(t *tokens.Token) {
			s.Tokens++
			s.NextRefresh = first(s.NextRefresh, t.Due())
			s.EarliestExpiry = first(s.EarliestExpiry, t.ExpiresOn)
		})
	}
	for _, g := range gates {
		if g != nil {
			s.ThrottledUntil = later(s.ThrottledUntil, g.Status().Opens)
		}
	}
	return s
}

// first returns the earlier of two times. A zero a means no time.
func first(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// later returns the later of two times in UTC. Zero means no time.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b.Round(0).UTC()
	}
	return a
}

// counts has the numbers of a cache's token requests.
type counts struct {
	mu       sync.Mutex
	acquired uint64            // guarded by mu
	failed   map[Reason]uint64 // guarded by mu
}

func (c *counts) add(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.acquired++
		return
	}
	if c.failed == nil {
		c.failed = map[Reason]uint64{}
	}
	c.failed[ReasonOf(err)]++
}

func (c *counts) copy() CacheStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return CacheStats{Acquisitions: c.acquired, Failures: maps.Clone(c.failed)}
}
