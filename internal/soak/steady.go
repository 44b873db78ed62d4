package main

import (
	"fmt"
	"time"
)

const (
	// enough is the time with which a call must get a token at a healthy endpoint.
	enough = 5 * time.Second

	// recovery is how long the endpoint must have been healthy before.
	recovery = 2 * time.Second

	// heard is when the parent's word must have come that the endpoint is no longer healthy.
	heard = time.Second
)

// steady counts calls.
type steady struct {
	Calls, Failed int
	Slowest       time.Duration // of those that got a token
}

func (s steady) String() string {
	slowest := s.Slowest.Round(time.Millisecond)
	return fmt.Sprintf("%d, of which %d failed and the slowest took %v", s.Calls, s.Failed, slowest)
}

// checkSteady checks that no call with five seconds fails at an endpoint that has been healthy for two, not counting
// the pause that it asked for before. It counts those where answers are lost.
func (j *judge) checkSteady(c call) {
	if c.key.dropped != "" || c.limit.Sub(c.began) < enough {
		return
	}
	if c.err != nil {
		time.Sleep(heard)
	}
	endpoint := c.key.credential.endpoint()
	s, known := j.health.during(endpoint, c.began, c.ended)
	if !known || s.mood == faulty {
		return
	}
	// a suspension makes requests late that are under way, and those after it begin anew
	since := later(s.from, later(j.open(endpoint), j.stalls.resumed(c.ended)))
	if c.began.Sub(since) < recovery || c.err != nil && j.pardoned(c) {
		return
	}
	if c.err != nil && s.mood == healthy {
		j.add("no call with five seconds fails at a healthy endpoint", "%v, with %v, %v after its recovery: %v",
			c, c.limit.Sub(c.began), c.began.Sub(since), c.err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.steady[s.mood]
	t.Calls++
	if c.err != nil {
		t.Failed++
	} else {
		t.Slowest = max(t.Slowest, c.ended.Sub(c.began))
	}
	j.steady[s.mood] = t
}

// pardoned tells whether the machine or a guest is why the call failed.
func (j *judge) pardoned(c call) bool {
	return c.left && j.stalls.net(c.began, c.ended) < enough || j.excused(c.key, c.began, c.ended)
}
