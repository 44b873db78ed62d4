package main

import (
	"context"
	"testing"
	"time"
)

// oddTimes has answers whose times a library should doubt.
func oddTimes(t *testing.T, s *section) {
	all := compare(t, 1, func(library string, _ int) hour { return ahead(library) })
	title := "IMDS, our clock is 70 minutes ahead of its: "
	worst(s.row(title+"of 120 calls, one a minute, have no valid token").aim(0, number), all, number,
		func(h hour) float64 { return float64(h.failed) })
	worst(s.row(title+"requests"), all, number, func(h hour) float64 { return float64(h.requests) })

	often := compare(t, 1, func(library string, _ int) int { return hasty(library) })
	worst(s.row("Entra, `refresh_in` of 1: requests in ten minutes of a call a second").aim(21, number), often, number,
		func(n int) float64 { return float64(n) })

	late := s.row("IMDS, `expires_on` in the year 9999: until the next refresh").aim(farMost.Hours(), "%.1f h")
	kept := compare(t, 1, func(library string, _ int) time.Duration { return far(library) })
	worst(late, kept, "%.1f h", time.Duration.Hours)
	for library, c := range late.cells {
		if c.value >= farWatched.Hours() {
			late.set(library, c.value, "none in %.0f days", farWatched.Hours()/24)
		}
	}
}

// hour is what two hours of calls were like.
type hour struct{ failed, requests int }

// ahead judges the tokens by their true end.
func ahead(library string) (got hour) {
	s := newSite()
	s.numbered, s.behind = true, 70*time.Minute
	c, k := party{library, imds}.credential(s), freshKey()
	for range 120 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		token, err := tokenIn(ctx, c, k)
		cancel()
		if err != nil || !s.valid(token.Token) {
			got.failed++
		}
		time.Sleep(time.Minute - time.Since(s.began)%time.Minute)
	}
	got.requests = s.requests(0, time.Since(s.began))
	return got
}

// hasty counts the requests where an answer wants a new one at once.
func hasty(library string) int {
	s := newSite()
	s.members = `"expires_in":3600,"refresh_in":1`
	c, k := party{library, entra}.credential(s), freshKey()
	for time.Since(s.began) < 10*time.Minute {
		must(0, ask(c, k, 0))
		time.Sleep(time.Second)
	}
	return s.requests(0, 10*time.Minute)
}

const (
	farWatched = 10 * 24 * time.Hour
	farCalls   = 6 * time.Minute
	farMost    = 24*time.Hour + farCalls // a day, and the time until a call finds that out
)

// far is how long a token is kept that seems to be good for ever.
func far(library string) time.Duration {
	s := newSite()
	s.members = `"expires_on":"253402300799"`
	c, k := party{library, imds}.credential(s), freshKey()
	for time.Since(s.began) < farWatched {
		must(0, ask(c, k, 0))
		time.Sleep(farCalls)
		if n := s.requests(0, farWatched); n > 1 {
			return s.sent[1] - s.sent[0]
		}
	}
	return farWatched
}
