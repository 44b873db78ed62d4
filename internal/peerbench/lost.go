package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// lost has the first request get no answer, or that after a 429.
func lost(t *testing.T, s *section, host string, n int) {
	for pauses, title := range []string{"the first request is lost", "the first after a 429 is lost"} {
		hurried := compare(t, n, func(library string, i int) crush {
			return losing(party{library, host}, pauses, silences(i), 10*time.Second)
		})
		title = host + ", " + title
		worst(s.row(title+": of 20 callers with 10 s fail").aim(0, number), hurried, number, crush.failures)
		patient := compare(t, n, func(library string, i int) crush {
			return losing(party{library, host}, pauses, silences(i), 0)
		})
		r := s.row(title+": longest wait of 20 patient callers").aim(6, "%.1f s")
		worst(r, patient, "%.1f s", crush.seconds)
	}
}

// crush is what callers felt who came at once, a scope each.
type crush struct {
	failed   int
	longest  time.Duration
	requests int
}

func (c crush) failures() float64 { return float64(c.failed) }
func (c crush) sent() float64     { return float64(c.requests) }
func (c crush) seconds() float64  { return c.longest.Seconds() }

func losing(p party, pauses int, loss mishap, deadline time.Duration) crush {
	s := newSite()
	s.meets = func(_ time.Duration, n int) mishap {
		switch {
		case n <= pauses:
			return askedOne
		case n == pauses+1:
			return loss
		}
		return mishap{}
	}
	return s.crush(p, 20, deadline)
}

// crush lets callers of one credential come.
func (s *site) crush(p party, callers int, deadline time.Duration) (got crush) {
	c := p.credential(s)
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, k := range freshKeys(callers) {
		all.Go(func() {
			err := ask(c, k, deadline)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				got.failed++
			}
			got.longest = max(got.longest, time.Since(s.began))
		})
	}
	all.Wait()
	got.requests = s.requests(0, time.Since(s.began)+time.Second)
	return got
}

// quiet has a lone patient caller come into an outage without answers.
func quiet(t *testing.T, s *section, host string, n int) {
	r := s.row(host + ", no answers for 10, 25, 50, 85 s: from the end until a lone patient caller has a token")
	r.aim(6, "%.1f s")
	most, texts := map[string]float64{}, map[string][]string{}
	for _, length := range outageLengths {
		all := compare(t, n, func(library string, i int) float64 {
			return outlasting(party{library, host}, silences(i), length).Seconds()
		})
		for library, found := range all {
			longest := slices.Max(found)
			most[library] = max(most[library], longest)
			texts[library] = append(texts[library], fmt.Sprintf("%.1f", longest))
		}
	}
	for library, longest := range most {
		r.set(library, longest, "%s s", strings.Join(texts[library], ", "))
	}
}

// outlasting is from the outage's end to the token of a caller who came soon after its beginning.
func outlasting(p party, kind mishap, length time.Duration) time.Duration {
	s := newSite()
	s.meets = kind.between(outageBegins, outageBegins+length)
	c := p.credential(s)
	must(0, ask(c, freshKey(), 0))
	time.Sleep(outageBegins + rand.N(2*time.Second) - time.Since(s.began))
	persist(c, freshKey())
	return time.Since(s.began) - outageBegins - length
}
