package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

// asked has a lone patient caller meet a number of pauses.
func asked(t *testing.T, s *section, host string, n int) {
	for _, pauses := range []int{1, 3, 6} {
		r := s.row(fmt.Sprintf("%s, %d × 429 with `Retry-After: 1`: until a patient caller has a token", host, pauses))
		r.aim(1.35*float64(pauses)+0.5, "%.2f s")
		all := compare(t, n, func(library string, _ int) float64 { return lone(party{library, host}, pauses) })
		worst(r, all, "%.2f s", func(seconds float64) float64 { return seconds })
		for library, c := range r.cells {
			if math.IsInf(c.value, 1) {
				r.set(library, c.value, "an error instead")
			}
		}
	}
}

// lone is the seconds until the token, infinite where the call fails.
func lone(p party, pauses int) float64 {
	s := newSite()
	s.meets = func(_ time.Duration, n int) mishap {
		if n <= pauses {
			return askedOne
		}
		return mishap{}
	}
	if ask(p.credential(s), freshKey(), 0) != nil {
		return math.Inf(1)
	}
	return time.Since(s.began).Seconds()
}

// thaw is what ten patient callers of as many scopes needed.
type thaw struct {
	first, last float64 // seconds from the end of the pause
	requests    int     // in the first 20 s
}

// unasked has ten callers meet an endpoint that doesn't say for how long it throttles.
func unasked(t *testing.T, s *section, n int) {
	for _, length := range []time.Duration{20 * time.Second, 60 * time.Second, 170 * time.Second} {
		all := compare(t, n, func(library string, _ int) thaw { return thawing(library, length) })
		title := fmt.Sprintf("IMDS, 429 without Retry-After for %s, 10 scopes: ", seconds(length))
		first := func(t thaw) float64 { return t.first }
		rest := func(t thaw) float64 { return t.last - t.first }
		middle(s.row(title+"from the end to the first token").aim(3.5, "%.1f s"), all, "%.1f s", first)
		worst(s.row(title+"… the longest").aim(7, "%.1f s"), all, "%.1f s", first)
		worst(s.row(title+"from the first token to the last").aim(2, "%.1f s"), all, "%.1f s", rest)
		r := s.row(title+"requests in the first 20 s").aim(8, number)
		worst(r, all, number, func(t thaw) float64 { return float64(t.requests) })
	}
}

func thawing(library string, length time.Duration) (got thaw) {
	s := newSite()
	s.meets = throttles.between(0, length)
	c := party{library, imds}.credential(s)
	got.first = math.Inf(1)
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, k := range freshKeys(10) {
		all.Go(func() {
			persist(c, k)
			mu.Lock()
			defer mu.Unlock()
			since := (time.Since(s.began) - length).Seconds()
			got.first, got.last = min(got.first, since), max(got.last, since)
		})
	}
	all.Wait()
	got.requests = s.requests(0, 20*time.Second)
	return got
}

// closes has the gate close while a request is under way.
func closes(t *testing.T, s *section, host string, n int) {
	all := compare(t, n, func(library string, _ int) int { return closing(party{library, host}) })
	r := s.row(host + ", an answer takes 0.8 s, and meanwhile another scope gets a 429 with `Retry-After: 20`: " +
		"of 2 callers with 10 s, one before it and one after, fail")
	worst(r.aim(0, number), all, number, func(failed int) float64 { return float64(failed) })
}

// closing counts the callers who fail.
func closing(p party) (failed int) {
	s := newSite()
	s.meets = func(_ time.Duration, n int) mishap {
		if n == 3 {
			return mishap{name: "429", status: http.StatusTooManyRequests, retryAfter: "20"}
		}
		return mishap{}
	}
	s.spread = func() time.Duration { // asked when a request has just begun
		if s.requests(0, time.Hour) == 2 {
			return 780 * time.Millisecond
		}
		return 0
	}
	c, k := p.credential(s), freshKey()
	must(0, ask(c, freshKey(), 0))
	ended := make(chan error, 2)
	call := func() { ended <- ask(c, k, 10*time.Second) }
	go call()
	time.Sleep(10*time.Millisecond + rand.N(600*time.Millisecond))
	go ask(c, freshKey(), 10*time.Second)
	time.Sleep(100 * time.Millisecond)
	go call()
	return newcomer(<-ended) + newcomer(<-ended)
}
