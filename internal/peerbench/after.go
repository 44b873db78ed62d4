package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// outageLengths have a figure each in a row.
var outageLengths = []time.Duration{10 * time.Second, 25 * time.Second, 50 * time.Second, 85 * time.Second}

// outages has two rows for each kind, and two for all.
func outages(t *testing.T, s *section, host string, n int) {
	total := map[string]aftermath{}
	for _, kind := range []mishap{fails, askedOne, refuses, silence, muteness} {
		failed := s.row(fmt.Sprintf("%s, %s for 10, 25, 50, 85 s: calls after the end that fail", host, kind.name))
		first := s.row(fmt.Sprintf("%s, %s: from the end to the first token", host, kind.name))
		for library, of := range ofEachLength(t, host, kind, n) {
			var calls, times []string
			for _, a := range of {
				calls = append(calls, fmt.Sprint(a.failed))
				times = append(times, fmt.Sprintf("%.1f", a.first.Seconds()))
				total[library] = total[library].worse(a)
			}
			failed.cells[library] = cell{text: strings.Join(calls, ", ")}
			first.cells[library] = cell{text: strings.Join(times, ", ") + " s"}
		}
	}
	title := host + ", outages of all kinds and lengths: "
	failed := s.row(title+"calls after the end that fail").aim(0, number)
	first := s.row(title+"from the end to the first token").aim(2, "%.1f s")
	for library, a := range total {
		failed.set(library, float64(a.failed), number, float64(a.failed))
		first.set(library, a.first.Seconds(), "%.1f s", a.first.Seconds())
	}
}

// ofEachLength has the worst of n draws of each length, by library.
func ofEachLength(t *testing.T, host string, kind mishap, n int) figures[aftermath] {
	worst := figures[aftermath]{}
	for _, length := range outageLengths {
		all := compare(t, n, func(library string, i int) aftermath {
			return after(party{library, host}, kind, length, i%2 == 1)
		})
		for library, found := range all {
			var w aftermath
			for _, a := range found {
				w = w.worse(a)
			}
			worst[library] = append(worst[library], w)
		}
	}
	return worst
}

// aftermath is what callers felt after an outage.
type aftermath struct {
	failed int           // calls that began after its end
	first  time.Duration // from the end to the first token; at most afterwards
}

func (a aftermath) worse(b aftermath) aftermath {
	return aftermath{max(a.failed, b.failed), max(a.first, b.first)}
}

const (
	outageBegins = 2 * time.Second
	afterwards   = time.Minute
)

// after lets an outage pass. The scope's token has ended when it begins, or there was none.
func after(p party, kind mishap, length time.Duration, had bool) aftermath {
	end := outageBegins + length
	s := newSite()
	s.life = func() time.Duration {
		if time.Since(s.began) < outageBegins {
			return time.Second
		}
		return time.Hour
	}
	s.meets = kind.between(outageBegins, end)
	c := p.credential(s)
	k, another := freshKey(), freshKey()
	if had {
		another = k
	}
	must(0, ask(c, another, 0))
	time.Sleep(outageBegins - time.Since(s.began) + rand.N(time.Second)) // the calls begin at any part of a second
	var all sync.WaitGroup
	var mu sync.Mutex
	got := aftermath{first: afterwards}
	for time.Since(s.began) < end+afterwards {
		all.Go(func() {
			began := time.Since(s.began)
			err := ask(c, k, 5*time.Second)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				got.first = min(got.first, time.Since(s.began)-end)
			} else if began >= end {
				got.failed++
			}
		})
		time.Sleep(time.Second)
	}
	all.Wait()
	return got
}
