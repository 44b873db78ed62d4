package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// grace is what the machine may take beyond any limit, besides the stalls.
	grace = 100 * time.Millisecond

	tick       = 10 * time.Millisecond
	stallsKept = 5 * time.Minute
)

// stalls are the times in which the process, or one of its threads, could run but didn't: it was suspended, or the machine was
// busy with others. A tick that comes late shows the former, and the kernel's count of what threads waited for a processor the latter.
type stalls struct {
	mu     sync.Mutex
	last   time.Time     // the last tick
	waited time.Duration // of all threads until then
	list   []stall       // oldest first
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
		s.list = append(s.list, stall{s.last, now, lost})
	}
	s.last, s.waited = now, waited
	for len(s.list) > 0 && now.Sub(s.list[0].to) > stallsKept {
		s.list = s.list[1:]
	}
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
