package main

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

const (
	stormLength = 10 * time.Minute
	stormScopes = 12
	lossRate    = 0.02
	settling    = 2 * time.Second // after an outage, before calls are judged
	callLasts   = 5 * time.Second

	gapLeast, gapMost   = 10 * time.Second, 60 * time.Second // healthy times
	lifeLeast, lifeMost = 20 * time.Second, 7 * time.Minute  // of tokens
	callGap             = 366 * time.Millisecond             // between calls of any scope, on average
)

// spell is one outage.
type spell struct {
	from, to time.Duration
	what     mishap
}

// storm is ten minutes of outages, the same for each library.
type storm struct {
	host   string
	spells []spell
	calls  []stormCall
}

type stormCall struct {
	at    time.Duration
	scope int
}

// stormKinds are nine: 404 may be 410 too.
var stormKinds = []mishap{
	fails, askedOne, throttles, refuses, silence,
	{name: "502", status: http.StatusBadGateway},
	{name: "503", status: http.StatusServiceUnavailable, retryAfter: "2"},
	{name: "404", status: http.StatusNotFound},
	{name: "reset", err: errReset},
}

func newStorm(host string, seed uint64) *storm {
	r := rand.New(rand.NewPCG(seed, 16))
	w := &storm{host: host}
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(r.Int64N(int64(most-least)))
	}
	for at := between(0, gapMost); at < stormLength; {
		end := at + between(time.Second, time.Minute)
		what := stormKinds[r.IntN(len(stormKinds))]
		switch {
		case what.status == http.StatusNotFound && host == entra: // where that is no outage
			what = fails
		case what.status == http.StatusNotFound && r.IntN(2) == 0:
			what.status = http.StatusGone
		}
		w.spells = append(w.spells, spell{at, end, what})
		at = end + between(gapLeast, gapMost)
	}
	for at := between(0, callGap); at < stormLength-callLasts; at += between(0, 2*callGap) {
		w.calls = append(w.calls, stormCall{at, r.IntN(stormScopes)})
	}
	return w
}

// judged tells whether a call lies in a healthy time that has lasted for a while.
func (w *storm) judged(at time.Duration) bool {
	for _, s := range w.spells {
		if at+callLasts >= s.from && at < s.to+settling {
			return false
		}
	}
	return at > w.spells[0].to
}

func (w *storm) meets(at time.Duration, losses float64) mishap {
	for _, s := range w.spells {
		if at >= s.from && at < s.to {
			return s.what
		}
	}
	if rand.Float64() < losses {
		return muteness
	}
	return mishap{}
}

// toll is what a storm cost.
type toll struct{ judged, failed, calls, requests int }

func (w *storm) run(library string, losses float64) (got toll) {
	s := newSite()
	s.life = func() time.Duration { return lifeLeast + rand.N(lifeMost-lifeLeast) }
	s.spread = func() time.Duration { return rand.N(30 * time.Millisecond) }
	s.meets = func(at time.Duration, _ int) mishap { return w.meets(at, losses) }
	c := party{library, w.host}.credential(s)
	scopes := freshKeys(stormScopes)
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, call := range w.calls {
		time.Sleep(call.at - time.Since(s.began))
		all.Go(func() {
			err := ask(c, scopes[call.scope], callLasts)
			mu.Lock()
			defer mu.Unlock()
			got.calls++
			if w.judged(call.at) {
				got.judged++
				if err != nil {
					got.failed++
				}
			}
		})
	}
	all.Wait()
	got.requests = s.requests(0, stormLength)
	return got
}

func storms(t *testing.T, s *section, host string, seeds int) {
	share := float64(seeds) / 40
	for _, losses := range []float64{0, lossRate} {
		title, most := host+", random outages: ", 0.0
		if losses > 0 {
			title, most = host+", random outages, 2 % of answers lost: ", 10
		}
		failed := s.row(title+"judged calls that fail").aim(most, number)
		judged := s.row(title + "judged calls, of all")
		requests := s.row(title+"requests").aim(16_000*share, number)
		all := compare(t, seeds, func(library string, i int) toll {
			return newStorm(host, uint64(i)).run(library, losses)
		})
		for library, found := range all {
			var sum toll
			for _, f := range found {
				sum = toll{sum.judged + f.judged, sum.failed + f.failed, sum.calls + f.calls, sum.requests + f.requests}
			}
			failed.set(library, float64(sum.failed), "%s", thousands(int64(sum.failed)))
			requests.set(library, float64(sum.requests), "%s", thousands(int64(sum.requests)))
			judged.set(library, float64(sum.judged), "%s of %s",
				thousands(int64(sum.judged)), thousands(int64(sum.calls)))
		}
	}
}
