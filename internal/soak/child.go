package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"time"

	"github.com/managedid/managedid"
)

const (
	// childVariable has the configuration of the process of the callers, and makes a process that.
	childVariable = "MANAGEDID_SOAK"

	warmUp      = 3 * time.Second
	settlesIn   = 90 * time.Second // beyond the longest pause of an endpoint that answers 429 without Retry-After
	heapGrowth  = 2 << 20          // what garbage and maps may leave
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
	Before, After               levels
}

// runChild works until in ends. It says on out when things may go wrong, and the result.
func runChild(config string, in io.Reader, out io.Writer) error {
	signal.Ignore(os.Interrupt) // a terminal sends it to the parent too, which then ends this process
	var c childConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	s, v := &stalls{}, &violations{count: map[string]int{}}
	go s.watch()
	j := &judge{recorder: newRecorder(s, v), clientIDs: c.ClientIDs, outcomes: map[string]int{}}
	cache, all := managedid.NewTokenCache(nil), []*caller{}
	for i := range callers {
		own, err := c.credentials(cache, j.recorder)
		if err != nil {
			return err
		}
		all = append(all, &caller{number: i, credentials: own, judge: j})
	}
	stop, warm := make(chan struct{}), make(chan struct{})
	go func() { io.Copy(io.Discard, in); close(stop); select {} }() // stays, so that it doesn't make up for one that leaked
	time.AfterFunc(warmUp, func() { close(warm) })
	work(all, c.Seed, warmStream, warm)
	res := result{Before: rest(), Calls: j.outcomes, Requests: j.recorder.outcomes}
	encoder := json.NewEncoder(out)
	if err := encoder.Encode(true); err != nil {
		return err
	}
	work(all, c.Seed, callerStream, stop)
	res.After = settle(res.Before)
	runtime.KeepAlive(all) // and the cache with them: what it keeps counts
	for _, name := range res.After.risen(res.Before) {
		v.add(name+" as before", "%v, then %v", res.Before, res.After)
	}
	res.Violations = v.counts()
	return encoder.Encode(res)
}
