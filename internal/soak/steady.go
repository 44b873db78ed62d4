package main

import (
	"fmt"
	"time"
)

const (
	// callTime is the time in which a call must get a token at a healthy endpoint.
	callTime = 5 * time.Second

	// recovery is how long the endpoint must have been healthy before the call.
	recovery = 2 * time.Second

	// noticeTime is the time in which the message of the parent arrives that the endpoint is no longer healthy.
	noticeTime = time.Second
)

// steady counts the calls at an endpoint in one condition.
type steady struct {
	Calls, Failed int
	Slowest       time.Duration // of the calls that got a token
}

func (s steady) String() string {
	slowest := s.Slowest.Round(time.Millisecond)
	return fmt.Sprintf("%d, of which %d failed and the slowest took %v", s.Calls, s.Failed, slowest)
}

// checkSteady checks that no call with five seconds fails at an endpoint that has been healthy for two seconds. A pause
// that the endpoint asked for does not count as healthy. If answers are lost, it only counts the calls.
func (j *judge) checkSteady(c call) {
	if c.key.dropped != "" || c.limit.Sub(c.began) < callTime {
		return
	}
	if c.err != nil {
		time.Sleep(noticeTime)
	}
	endpoint := c.key.credential.endpoint()
	s, known := j.health.during(endpoint, c.began, c.ended)
	if !known || s.condition == faulty {
		return
	}
	// A suspension delays the requests in progress. Recovery starts again after it.
	since := later(s.from, later(j.open(endpoint), j.stalls.resumed(c.ended)))
	if c.began.Sub(since) < recovery || c.err != nil && j.pardoned(c) {
		return
	}
	if c.err != nil && s.condition == healthy {
		j.add("no call with five seconds fails at a healthy endpoint", "%v, with %v, %v after its recovery: %v",
			c, c.limit.Sub(c.began), c.began.Sub(since), c.err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.steady[s.condition]
	t.Calls++
	if c.err != nil {
		t.Failed++
	} else {
		t.Slowest = max(t.Slowest, c.ended.Sub(c.began))
	}
	j.steady[s.condition] = t
}

// pardoned reports whether the machine or a badTransport may be the cause of a failed call.
func (j *judge) pardoned(c call) bool {
	return c.contextEnded && j.stalls.net(c.began, c.ended) < callTime || j.excused(c.key, c.began, c.ended)
}
