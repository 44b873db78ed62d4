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
	// childVariable holds the configuration of the child process. A process with this variable is the child.
	childVariable = "MANAGEDID_SOAK"

	warmUp      = 3 * time.Second
	settlesIn   = 90 * time.Second // longer than the longest pause after a 429 without Retry-After
	heapGrowth  = 4 << 20          // allowed for garbage, maps, and the tokens of Entra for swarms
	settleCheck = 100 * time.Millisecond
)

// levels are the resources that a process holds.
type levels struct {
	Goroutines, Files int
	Heap              uint64
}

func (l levels) String() string {
	return fmt.Sprintf("%d goroutines, %d files, %d KiB of heap", l.Goroutines, l.Files, l.Heap>>10)
}

// measure returns the current levels. Without /dev/fd, it counts no files.
func measure() levels {
	runtime.GC()
	runtime.GC() // the second one also frees objects that had a finalizer or were in a pool
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	files, _ := os.ReadDir("/dev/fd")
	return levels{Goroutines: runtime.NumGoroutine(), Files: len(files), Heap: m.HeapAlloc}
}

// risen returns the names of the levels that are higher than before.
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

// rest waits until goroutines and files have not changed for two seconds, and returns the levels.
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

// settle waits until no level is higher than before, but not longer than settlesIn.
func settle(before levels) levels {
	now := measure()
	for began := time.Now(); len(now.risen(before)) > 0 && time.Since(began) < settlesIn; {
		time.Sleep(settleCheck)
		now = measure()
	}
	return now
}

// result is what the child reports at its end.
type result struct {
	Calls, Requests, Violations    map[string]int // by outcome
	Misbehaved                     map[string]int // requests whose transport misbehaved, by kind
	Swarms, SwarmRequests, Dropped int            // SwarmRequests: requests for the resources of swarms
	Hedges                         int
	Steady                         map[condition]steady
	First, Last                    uint64 // least heap in the first and the last third of the time
	Before, After                  levels
}

// runChild runs the callers until in ends. It writes to out when the faults may begin, and at the end the result.
func runChild(config string, in io.Reader, out io.Writer) error {
	// A terminal also sends the signal to the parent, which then ends this process.
	signal.Ignore(os.Interrupt)
	var c childConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	j := newJudge(c)
	start, stop := make(chan struct{}), make(chan struct{})
	cache, bad := managedid.NewTokenCache(nil), newBadTransport(c.Seed, j.recorder, start, stop)
	all, err := c.callers(cache, j, bad)
	if err != nil {
		return err
	}
	// This goroutine never ends, so that its end cannot hide a goroutine that leaked.
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
	h, load := &heap{recorder: j.recorder}, &extraLoad{config: c, cache: cache, members: all, judge: j}
	work(stop, append(calling(all, c.Seed, callerStream), h.watch, load.swarm, load.drop)...)
	res.After = settle(res.Before)
	runtime.KeepAlive(all) // also keeps the cache alive, whose memory counts
	res.Misbehaved, res.Swarms, res.Dropped = bad.counts(), load.swarms, load.dropped
	j.conclude(&res, h.samples)
	return encoder.Encode(res)
}

// conclude adds the results of the judge and checks the levels and the heap.
func (j *judge) conclude(res *result, heap []uint64) {
	for _, name := range res.After.risen(res.Before) {
		j.add(name+" as before", "%v, then %v", res.Before, res.After)
	}
	if res.First, res.Last = thirds(heap); grew(heap) {
		j.add("a flat heap", "%d samples: %v", len(heap), heap)
	}
	res.Calls, res.Steady, res.Violations = j.outcomes, j.steady, j.counts()
	r := j.recorder
	r.mu.Lock() // an abandoned request may still be running
	defer r.mu.Unlock()
	res.Requests, res.SwarmRequests, res.Hedges = maps.Clone(r.outcomes), r.swarmRequests, r.hedges
}

// callers makes all callers. Every third one has a misbehaving transport.
func (c childConfig) callers(cache *managedid.TokenCache, j *judge, bad *badTransport) (all []*caller, err error) {
	for i := range callers {
		var transport policy.Transporter
		if i%badOneIn == 0 {
			transport = bad
		}
		credentials, err := c.credentials(cache, j, transport)
		if err != nil {
			return nil, err
		}
		all = append(all, &caller{number: i, credentials: credentials, judge: j})
	}
	return all, nil
}
