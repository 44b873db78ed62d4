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
	// grace is how far a limit may be exceeded, in addition to stalls.
	grace = 100 * time.Millisecond

	// suspended is the shortest stall of the whole process that counts as a suspension. Shorter ones are only lost
	// time.
	suspended = 200 * time.Millisecond

	tick = 10 * time.Millisecond

	// stallsKept is the number of stalls that are kept, for at least five minutes. Their memory is allocated at once,
	// so that the heap stays flat.
	stallsKept = 30_000
)

// stalls are the periods in which the process or one of its threads was ready but did not run. Either the process was
// suspended, or the machine was busy. A late tick shows the first, and the kernel's count of the threads' waiting time
// the second.
type stalls struct {
	mu     sync.Mutex
	last   time.Time     // time of the last tick
	waited time.Duration // sum of all threads at the last tick
	list   []stall       // oldest first
	gaps   []stall       // suspensions of the whole process; oldest first
}

// stall is a period with lost time.
type stall struct {
	from, to time.Time
	lost     time.Duration // at most
}

// watch records stalls. It never returns.
func (s *stalls) watch() {
	for {
		s.record(time.Now(), waited())
		time.Sleep(tick)
	}
}

// waited returns the total time that the threads have waited for a processor: the second number of schedstat
// (Documentation/scheduler/sched-stats.rst of the kernel). It returns zero if there is no schedstat.
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

// record records a tick.
func (s *stalls) record(now time.Time, waited time.Duration) {
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

// keep appends a stall. It removes the oldest ones if there are too many.
func keep(list []stall, most int, s stall) []stall {
	if list == nil {
		list = make([]stall, 0, most)
	}
	if len(list) == most {
		list = slices.Delete(list, 0, most/8)
	}
	return append(list, s)
}

// net returns the part of a period in which the process ran. It waits until this is known.
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

// lost returns the part of a period in which the process did not run.
func (s *stalls) lost(from, to time.Time) time.Duration { return to.Sub(from) - s.net(from, to) }

// resumed returns the end of the last suspension that began before the time, or the zero time if there is none.
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

// exceeds reports whether a period is longer than the limit even without its stalls.
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
