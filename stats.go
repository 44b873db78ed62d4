package managedid

import (
	"maps"
	"sync"
	"time"
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
	c.mu.Lock()
	identities, endpoints := maps.Clone(c.identities), maps.Clone(c.endpoints)
	c.mu.Unlock()
	for _, i := range identities {
		i.stats(now, &s)
	}
	for _, e := range endpoints {
		e.mu.Lock()
		if opens := e.gate.opens; opens.After(now) && opens.After(s.ThrottledUntil) {
			s.ThrottledUntil = opens.Round(0).UTC()
		}
		e.mu.Unlock()
	}
	return s
}

func (i *identity) stats(now time.Time, s *Stats) {
	seen := map[*entry]bool{} // one has several keys
	i.entries.Range(func(_, v any) bool {
		e := v.(*entry)
		if t := e.current.Load(); !seen[e] && t.freshness(now) != expired {
			s.Tokens++
			s.NextRefresh = first(s.NextRefresh, t.due)
			s.EarliestExpiry = first(s.EarliestExpiry, t.ExpiresOn)
		}
		seen[e] = true
		return true
	})
}

// first returns the earlier of two times, of which the first may be none.
func first(a, b time.Time) time.Time {
	if a.IsZero() {
		return b
	}
	return earlier(a, b)
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
