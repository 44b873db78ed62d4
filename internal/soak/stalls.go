package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	// grace is what the machine may take beyond any limit, besides the stalls.
	grace = 100 * time.Millisecond

	// suspended is the shortest stall of the whole process that counts as a suspension. What is shorter is only lost
	// time.
	suspended = 200 * time.Millisecond

	tick       = 10 * time.Millisecond
	stallsKept = 30_000 // those of five minutes at least; the memory is taken at once, so that the heap stays flat
)

// stalls are the times in which the process, or one of its threads, could run but didn't: it was suspended, or the
// machine was busy with others. A tick that comes late shows the former, and the kernel's count of what threads waited
// for a processor the latter.
type stalls struct {
	mu     sync.Mutex
	last   time.Time     // the last tick
	waited time.Duration // of all threads until then
	list   []stall       // oldest first
	gaps   []stall       // those in which the whole process stood still
}

type stall struct {
	from, to time.Time
	lost     time.Duration // at most, between the two
}

// watch runs for as long as the process does.
func (s *stalls) watch() {
	for {
		s.ran(time.Now(), waited())
		time.Sleep(tick)
	}
}

// waited adds up what the threads have waited for a processor: the second number of schedstat (the kernel's
// Documentation/scheduler/sched-stats.rst). Where that is not there, it is zero.
func waited() (sum time.Duration) {
	threads, _ := filepath.Glob("/proc/self/task/*/schedstat")
	for _, name := range threads {
		var ran, waited int64
		content, _ := os.ReadFile(name)
		fmt.Sscan(string(content), &ran, &waited)
		sum += time.Duration(waited)
	}
	return sum
}

func (s *stalls) ran(now time.Time, waited time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	late := now.Sub(s.last) - tick
	if lost := max(late, waited-s.waited); !s.last.IsZero() && lost > tick/2 {
		s.list = keep(s.list, stallsKept, stall{s.last, now, lost})
	}
	if late >= suspended && !s.last.IsZero() {
		s.gaps = keep(s.gaps, stallsKept/100, stall{s.last, now, late})
	}
	s.last, s.waited = now, waited
}

// keep appends a stall, and forgets the oldest ones when there are too many.
func keep(list []stall, most int, s stall) []stall {
	if list == nil {
		list = make([]stall, 0, most)
	}
	if len(list) == most {
		list = slices.Delete(list, 0, most/8)
	}
	return append(list, s)
}

// net returns the part of a time in which the process ran. It waits until that is known.
func (s *stalls) net(from, to time.Time) time.Duration {
	for {
		s.mu.Lock()
		known := !s.last.Before(to)
		if known {
			break
		}
		s.mu.Unlock()
		time.Sleep(tick)
	}
	defer s.mu.Unlock()
	d := to.Sub(from)
	for _, stall := range s.list {
		d -= min(stall.lost, max(0, earlier(stall.to, to).Sub(later(stall.from, from))))
	}
	return d
}

// lost is the part of a time in which the process did not run.
func (s *stalls) lost(from, to time.Time) time.Duration { return to.Sub(from) - s.net(from, to) }

// resumed returns the end of the last suspension that began before a time.
func (s *stalls) resumed(before time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range slices.Backward(s.gaps) {
		if g.from.Before(before) {
			return g.to
		}
	}
	return time.Time{}
}

// exceeds tells whether a time is longer than the limit even without the stalls in it.
func (s *stalls) exceeds(from, to time.Time, limit time.Duration) bool {
	return to.Sub(from) > limit && s.net(from, to) > limit
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
