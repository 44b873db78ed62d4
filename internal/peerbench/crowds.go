package main

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// swarm is what the callers felt for whom the rest is a nuisance.
type swarm struct{ failed, newcomer, requests int }

// leavers has 1,000 callers leave, and another come.
func leavers(t *testing.T, s *section, n int) {
	all := compareFew(t, n, 3, func(library string, _ int) swarm {
		s := newSite()
		c := party{library, imds}.credential(s)
		for _, k := range freshKeys(1_000) {
			go ask(c, k, time.Second)
		}
		time.Sleep(time.Second + time.Millisecond)
		left := time.Since(s.began)
		got := swarm{newcomer: newcomer(ask(c, freshKey(), 10*time.Second))}
		time.Sleep(3 * time.Minute)
		got.requests = s.requests(left, time.Since(s.began))
		return got
	})
	title := "IMDS, 1,000 callers of as many scopes leave after 1 s: "
	sum(s.row(title+"a new one with 10 s fails").aim(0, number), all, swarm.new)
	worst(s.row(title+"requests afterwards").aim(30, number), all, number,
		func(s swarm) float64 { return float64(s.requests) })
}

func (s swarm) new() int { return s.newcomer }

func newcomer(err error) int {
	if err != nil {
		return 1
	}
	return 0
}

// besides has 1,000 patient callers of cold scopes stand beside a token in use.
func besides(t *testing.T, s *section, n int) {
	all := compareFew(t, n, 3, func(library string, _ int) swarm { return beside(library) })
	title := "IMDS with its limits, 1,000 cold scopes beside a token with 31 s left: "
	calls := s.row(title+"of 60 calls for that token, one a second with 5 s, fail").aim(0, number)
	worst(calls, all, number, func(s swarm) float64 { return float64(s.failed) })
	sum(s.row(title+"a new caller with 10 s fails").aim(0, number), all, swarm.new)
}

func beside(library string) (got swarm) {
	s := newSite().likeIMDS()
	s.life = func() time.Duration {
		if time.Since(s.began) <= s.delay { // the first
			return 31 * time.Second
		}
		return time.Hour
	}
	c := party{library, imds}.credential(s)
	used := freshKey()
	must(0, ask(c, used, 0))
	ctx, leave := context.WithCancel(context.Background())
	for _, k := range freshKeys(1_000) {
		go askIn(ctx, c, k)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	all.Go(func() {
		time.Sleep(5 * time.Second)
		got.newcomer = newcomer(ask(c, freshKey(), 10*time.Second))
	})
	for range 60 {
		time.Sleep(time.Second)
		all.Go(func() {
			if ask(c, used, 5*time.Second) != nil {
				mu.Lock()
				got.failed++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	s.closed.Store(true)
	leave()
	return got
}

// swamp has 1,000 patient callers come to Entra, which takes some a second.
func swamp(t *testing.T, s *section, n int) {
	for _, perSecond := range []int{100, 300} {
		all := compareFew(t, n, 3, func(library string, _ int) crush {
			s := newSite()
			s.perSecond, s.beyond, s.delay = perSecond, askedOne, 50*time.Millisecond
			return s.crush(party{library, entra}, 1_000, 0)
		})
		title := fmt.Sprintf("Entra that takes %d a second, 1,000 cold scopes: ", perSecond)
		worst(s.row(title+"patient callers that fail").aim(0, number), all, number, crush.failures)
		worst(s.row(title+"requests").aim(1_300, number), all, number, crush.sent)
		worst(s.row(title+"until the last has a token"), all, "%.1f s", crush.seconds)
	}
}

// crowdsInOutage counts what 100 callers of 10 resources send in 20 s.
func crowdsInOutage(t *testing.T, s *section, n int) {
	const length = 20 * time.Second
	for _, kind := range []mishap{fails, refuses} {
		all := compare(t, n, func(library string, _ int) int {
			s := newSite()
			s.meets = kind.between(0, length)
			c := party{library, imds}.credential(s)
			var callers sync.WaitGroup
			for _, k := range freshKeys(10) {
				for range 10 {
					callers.Go(func() { persist(c, k) })
				}
			}
			callers.Wait()
			return s.requests(0, length)
		})
		r := s.row(fmt.Sprintf("IMDS, 100 patient callers of 10 scopes, 20 s of %s: requests", kind.name))
		worst(r.aim(40, number), all, number, func(n int) float64 { return float64(n) })
	}
}
