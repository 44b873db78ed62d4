package managedid

import (
	"maps"
	"sync"
	"time"

	"github.com/managedid/managedid/internal/gate"
	"github.com/managedid/managedid/internal/tokens"
)

// Stats is what a [TokenCache] holds and what it took to get it, for metrics. Zero times mean that there is no such time.
type Stats struct {
	// Tokens is how many valid tokens are held.
	Tokens int `json:"tokens"`
	// Acquisitions is how many tokens were received. Failures is how many requests for a token failed after all their tries, by
	// reason; "" stands for a refusal of no known reason. A request for which nobody waited any more is neither.
	Acquisitions uint64            `json:"acquisitions"`
	Failures     map[Reason]uint64 `json:"failures,omitempty"`
	// ThrottledUntil is when the last of the endpoints may be asked again that asked for a pause.
	ThrottledUntil time.Time `json:"throttledUntil,omitzero"`
	// NextRefresh is the earliest time from which a call refreshes a token. It may lie in the past, where there was no call since.
	NextRefresh time.Time `json:"nextRefresh,omitzero"`
	// EarliestExpiry is when the first of the tokens expires.
	EarliestExpiry time.Time `json:"earliestExpiry,omitzero"`
}

// Stats looks at all tokens, so it is for some calls a minute. Those of a nil cache are those of the process's, which
// credentials use that are given none.
func (c *TokenCache) Stats() Stats {
	if c == nil {
		c = &processCache
	}
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

// first returns the earlier of two times, of which the first may be none.
func first(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// later returns the later of two times in UTC, of which either may be none.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b.Round(0).UTC()
	}
	return a
}

// counts are what has come of a cache's requests for tokens.
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

func (c *counts) copy() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Acquisitions: c.acquired, Failures: maps.Clone(c.failed)}
}
