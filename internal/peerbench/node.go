package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

const nodeTitle = "A node of processes"

const nodeNote = `Processes on one host, each with a credential and a cache of its own. IMDS takes 20 requests a second
and 5 at once from all of them. It answers these in 30 to 50 ms, and says 429 without Retry-After to the rest. All
processes start at once, without a token. Their callers are patient: who gets an error, which is counted, asks again a
second later.

In the outage IMDS answers 500 for the first minute. Each process makes one call a second with a deadline of 5 s, until
it has a token.

A figure is the median of 30 draws, with the greatest in brackets; of errors, and of one process's requests, the
greatest alone. azidentity has three to ten draws, since the scopes of all draws fill MSAL's cache, which makes it
slow.`

// node is a host's processes, and how many scopes each asks for.
type node struct {
	processes, scopes     int
	few                   int     // draws of azidentity
	within, most, mistake float64 // goals: seconds, requests, errors
}

var nodes = []node{{100, 1, 10, 10, 265, 0}, {100, 5, 5, 40, 1_300, 0}, {300, 5, 3, 105, 6_500, 0}}

func nodeSite() *site {
	s := newSite().likeIMDS()
	s.delay = 30 * time.Millisecond
	s.spread = func() time.Duration { return rand.N(20 * time.Millisecond) }
	return s
}

func runNodes(t *testing.T, out *table, o options) {
	s := out.section(nodeTitle, o.noted(nodeNote), rivals...)
	for _, n := range nodes {
		title := fmt.Sprintf("%d processes × %d scopes: ", n.processes, n.scopes)
		if n.scopes == 1 {
			title = fmt.Sprintf("%d processes × 1 scope: ", n.processes)
		}
		all := compareFew(t, o.draws(30), n.few, func(library string, _ int) crush { return n.start(library) })
		middle(s.row(title+"until all have their tokens").aim(n.within, "%.2f s"), all, "%.1f s", crush.seconds)
		middle(s.row(title+"requests").aim(n.most, number), all, number, crush.sent)
		worst(s.row(title+"errors to callers").aim(n.mistake, number), all, number, crush.failures)
	}
	all := compareFew(t, o.draws(30), 5, func(library string, _ int) nodeOutage { return outageOfNode(library, 100) })
	title := "100 processes, an outage of a minute: "
	peak := s.row(title+"most requests of one process in any second").aim(1, number)
	requests := s.row(title + "requests in it")
	last := s.row(title+"from its end until all have a token").aim(10, "%.1f s")
	worst(peak, all, number, func(o nodeOutage) float64 { return float64(o.peak) })
	middle(requests, all, number, func(o nodeOutage) float64 { return float64(o.requests) })
	middle(last, all, "%.1f s", func(o nodeOutage) float64 { return o.last.Seconds() })
}

// start has all processes begin.
func (n node) start(library string) (got crush) {
	s := nodeSite()
	var all sync.WaitGroup
	var mu sync.Mutex
	for range n.processes {
		c := party{library, imds}.credential(s)
		for _, k := range freshKeys(n.scopes) {
			all.Go(func() {
				failed := persist(c, k)
				mu.Lock()
				defer mu.Unlock()
				got.failed += failed
				got.longest = max(got.longest, time.Since(s.began))
			})
		}
	}
	all.Wait()
	got.requests = s.requests(0, time.Since(s.began)+time.Second)
	return got
}

// nodeOutage is what an outage was like.
type nodeOutage struct {
	peak     int // requests of one process in any second
	requests int // of all, while it lasted
	last     time.Duration
}

// own counts the requests of one process.
type own struct {
	*site
	mu   sync.Mutex
	sent sample // seconds
}

func (o *own) RoundTrip(r *http.Request) (*http.Response, error) {
	o.mu.Lock()
	o.sent = append(o.sent, time.Since(o.began).Seconds())
	o.mu.Unlock()
	return o.site.RoundTrip(r)
}

// peak locks, since requests go on without callers.
func (o *own) peak() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sent.peak()
}

// peak is the most requests within any second.
func (s sample) peak() (most int) {
	first := 0
	for i := range s {
		for s[i]-s[first] >= 1 {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func outageOfNode(library string, processes int) (got nodeOutage) {
	const length = time.Minute
	s := nodeSite()
	s.meets = fails.between(0, length)
	var all sync.WaitGroup
	var mu sync.Mutex
	for range processes {
		mine := &own{site: s}
		all.Go(func() {
			last := mine.callEachSecond(library, 5*length)
			mu.Lock()
			defer mu.Unlock()
			got.last = max(got.last, last-length)
			got.peak = max(got.peak, mine.peak())
		})
	}
	all.Wait()
	got.requests = s.requests(0, length)
	return got
}

// callEachSecond returns when the first call has a token.
func (o *own) callEachSecond(library string, giveUp time.Duration) time.Duration {
	c, k := party{library, imds}.credential(o), freshKey()
	time.Sleep(rand.N(time.Second))
	found := make(chan time.Duration, int(giveUp/time.Second)+1)
	for time.Since(o.began) < giveUp {
		go func() {
			if ask(c, k, 5*time.Second) == nil {
				found <- time.Since(o.began)
			}
		}()
		select {
		case at := <-found:
			time.Sleep(5 * time.Second) // the other calls' requests
			return at
		case <-time.After(time.Second):
		}
	}
	return giveUp
}
