package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/managedid/managedid"
)

const (
	// childVariable has the configuration of the process of the callers, and makes a process that.
	childVariable = "MANAGEDID_SOAK"

	warmUp      = 3 * time.Second
	settlesIn   = 90 * time.Second // beyond the longest pause of an endpoint that answers 429 without Retry-After
	heapGrowth  = 4 << 20          // what garbage, maps and Entra's tokens for swarms may leave
	settleCheck = 100 * time.Millisecond
)

// levels are what a process holds at rest.
type levels struct {
	Goroutines, Files int
	Heap              uint64
}

func (l levels) String() string {
	return fmt.Sprintf("%d goroutines, %d files, %d KiB of heap", l.Goroutines, l.Files, l.Heap>>10)
}

// measure returns the levels of now. Where /dev/fd is not there, no file is counted.
func measure() levels {
	runtime.GC()
	runtime.GC() // what has a finalizer or was in a pool goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	files, _ := os.ReadDir("/dev/fd")
	return levels{Goroutines: runtime.NumGoroutine(), Files: len(files), Heap: m.HeapAlloc}
}

// risen tells what is higher than before.
func (l levels) risen(before levels) (names []string) {
	if l.Goroutines > before.Goroutines {
		names = append(names, "goroutines")
	}
	if l.Files > before.Files {
		names = append(names, "open files")
	}
	if l.Heap > before.Heap+heapGrowth {
		names = append(names, "heap")
	}
	return names
}

// rest waits until the levels have stayed as they are for two seconds.
func rest() levels {
	last := measure()
	for same := 0; same < 20; same++ {
		time.Sleep(settleCheck)
		now := measure()
		if now.Goroutines != last.Goroutines || now.Files != last.Files {
			same = 0
		}
		last = now
	}
	return last
}

// settle waits until the levels are no higher than before, but not for ever.
func settle(before levels) levels {
	now := measure()
	for began := time.Now(); len(now.risen(before)) > 0 && time.Since(began) < settlesIn; {
		time.Sleep(settleCheck)
		now = measure()
	}
	return now
}

// result is what the process of the callers has to tell at its end.
type result struct {
	Calls, Requests, Violations map[string]int // by what came of them
	Guests                      map[string]int // requests, by how their transport misbehaved
	Swarms, Swarming, Dropped   int            // Swarming: requests for resources of swarms
	Hedges                      int
	Steady                      map[mood]steady
	First, Last                 uint64 // the least heap of the first third and of the last
	Before, After               levels
}

// runChild works until in ends. It says on out when things may go wrong, and the result.
func runChild(config string, in io.Reader, out io.Writer) error {
	signal.Ignore(os.Interrupt) // a terminal sends it to the parent too, which then ends this process
	var c childConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	j := newJudge(c)
	start, stop := make(chan struct{}), make(chan struct{})
	cache, g := managedid.NewTokenCache(nil), newGuest(c.Seed, j.recorder, start, stop)
	all, err := c.callers(cache, j, g)
	if err != nil {
		return err
	}
	go func() { // stays, so that it doesn't make up for one that leaked
		j.health.listen(in)
		close(stop)
		select {}
	}()
	warm := make(chan struct{})
	time.AfterFunc(warmUp, func() { close(warm) })
	work(warm, calling(all, c.Seed, warmStream)...)
	res := result{Before: rest()}
	j.health.setReady(time.Now())
	encoder := json.NewEncoder(out)
	if err := encoder.Encode(true); err != nil {
		return err
	}
	close(start)
	h, other := &heap{recorder: j.recorder}, &crowd{config: c, cache: cache, members: all, judge: j}
	work(stop, append(calling(all, c.Seed, callerStream), h.watch, other.swarm, other.drop)...)
	res.After = settle(res.Before)
	runtime.KeepAlive(all) // and the cache with them: what it keeps counts
	res.Guests, res.Swarms, res.Dropped = g.counts(), other.swarms, other.dropped
	j.conclude(&res, h.samples)
	return encoder.Encode(res)
}

// conclude adds what the judge knows at the end.
func (j *judge) conclude(res *result, heap []uint64) {
	for _, name := range res.After.risen(res.Before) {
		j.add(name+" as before", "%v, then %v", res.Before, res.After)
	}
	if res.First, res.Last = thirds(heap); grew(heap) {
		j.add("a flat heap", "%d samples: %v", len(heap), heap)
	}
	res.Calls, res.Steady, res.Violations = j.outcomes, j.steady, j.counts()
	r := j.recorder
	r.mu.Lock() // a request that nobody waits for any more may still be tried
	defer r.mu.Unlock()
	res.Requests, res.Swarming, res.Hedges = maps.Clone(r.outcomes), r.swarming, r.hedges
}

// callers makes all of them. Some have a guest for a transport.
func (c childConfig) callers(cache *managedid.TokenCache, j *judge, g *guest) (all []*caller, err error) {
	for i := range callers {
		var transport policy.Transporter
		if i%ofGuest == 0 {
			transport = g
		}
		own, err := c.credentials(cache, j, transport)
		if err != nil {
			return nil, err
		}
		all = append(all, &caller{number: i, credentials: own, judge: j})
	}
	return all, nil
}
