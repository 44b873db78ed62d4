package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

const (
	// leastBackOff is less than half a second, which is the shortest pause after a 429 that names no pause.
	leastBackOff = 400 * time.Millisecond

	// longestRetryAfter is the limit to which a longer Retry-After is cut.
	longestRetryAfter = 5 * time.Minute

	// overdue is the age at which a request without an answer no longer delays others: one second, minus the time that
	// the machine may take.
	overdue = 900 * time.Millisecond

	// growthLimit is the number of good answers after which the endpoint's own limits apply.
	growthLimit = 16
)

// gateModel is what the recorder knows about the library's gate for an endpoint, only from requests and answers. If the
// order of simultaneous events is unknown, it assumes the order that allows more.
type gateModel struct {
	name                string
	parallel, perSecond int // zero: no limit
	// longestBackOff is the longest pause after a 429 that names none. Zero: too short to affect a call with five
	// seconds.
	longestBackOff time.Duration

	underway      []*request  // may include cancelled requests
	begun         []time.Time // within the last second, oldest first
	closed        time.Time   // last time that the gate was closed
	opensEarliest time.Time   // earliest time at which the gate opens
	opensLatest   time.Time   // latest time at which the gate opens
	closings      int         // number of times that the gate was closed
	good          int         // good answers since the gate opened; the number of requests may grow with them
}

// breach is a promise that a request breaks.
type breach struct {
	promise, detail string

	// gateRule breaches are excused if the request may have been admitted before the gate was closed.
	gateRule bool

	// stall is how long the process must have stalled to excuse the breach. Zero: no stall excuses it.
	stall time.Duration
}

// enter records a request that starts. It returns the promises that the request breaks.
func (g *gateModel) enter(now time.Time, q *request) (broken []breach) {
	g.underway = append(slices.DeleteFunc(g.underway, func(q *request) bool { return !q.alive() }), q)
	g.begun = slices.DeleteFunc(append(g.begun, now), func(t time.Time) bool { return now.Sub(t) >= time.Second })
	if n := len(g.underway); g.parallel > 0 && n > g.parallel {
		broken = append(broken, breach{promise: "five requests at once", detail: fmt.Sprintf("%d at %s", n, g.name)})
	}
	if excess := len(g.begun) - g.perSecond; g.perSecond > 0 && excess > 0 {
		broken = append(broken, breach{promise: "twenty requests in a second",
			stall: time.Second - now.Sub(g.begun[excess-1]), detail: fmt.Sprintf("%d at %s", len(g.begun), g.name)})
	}
	if now.Before(g.opensEarliest) {
		broken = append(broken, breach{promise: "no request while the gate is closed", gateRule: true,
			detail: fmt.Sprintf("%s opens in %v", g.name, g.opensEarliest.Sub(now))})
	} else {
		g.opensLatest = earlier(g.opensLatest, now)
	}
	ages := g.ages(now)
	if excess := len(ages) - 1 - g.good; excess > 0 && g.good < growthLimit {
		broken = append(broken, breach{promise: "requests grow with the good answers", gateRule: true,
			stall:  overdue - ages[excess-1],
			detail: fmt.Sprintf("%d at %s after %d good answers", len(ages), g.name, g.good)})
	}
	return broken
}

// ages returns the ages of the requests whose answers may delay others, oldest first. Only requests since the opening
// count.
func (g *gateModel) ages(now time.Time) (ages []time.Duration) {
	for _, q := range g.underway {
		if age := now.Sub(q.began); !q.began.Before(g.opensEarliest) && age < overdue {
			ages = append(ages, age)
		}
	}
	return ages
}

// leave removes a request that has ended.
func (g *gateModel) leave(q *request) {
	g.underway = slices.DeleteFunc(g.underway, func(other *request) bool { return other == q })
}

// answered records an answer. Two kinds of answers may close the gate or
// not: a server error other than 503 that names a pause, and an answer to a cancelled request.
func (g *gateModel) answered(now time.Time, q *request, resp *http.Response) {
	pause, current, code := pauseIn(resp.Header), q.age == g.closings, resp.StatusCode
	throttled := code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable && pause > 0
	if throttled || code >= 500 && pause > 0 {
		g.opensLatest = later(g.opensLatest, now.Add(g.longest(pause)))
	}
	switch {
	case throttled && q.alive():
		if current {
			g.closings++
			g.good = 0
			if pause == 0 {
				pause = leastBackOff
			}
		}
		g.opensEarliest, g.closed = later(g.opensEarliest, now.Add(pause)), now
	case !throttled && code < 500 && !now.Before(g.opensEarliest):
		g.good++
	}
}

// longest returns how long the gate may stay closed: Retry-After plus jitter.
func (g *gateModel) longest(pause time.Duration) time.Duration {
	if pause == 0 {
		return g.longestBackOff
	}
	return pause + pause*35/100 + 500*time.Millisecond
}

// pauseIn returns the pause that the headers name, in the forms that the faults use. Zero: none.
func pauseIn(h http.Header) time.Duration {
	for _, name := range []string{"Retry-After-Ms", "X-Ms-Retry-After-Ms"} {
		if n, err := strconv.Atoi(h.Get(name)); err == nil && n > 0 {
			return min(time.Duration(n)*time.Millisecond, longestRetryAfter)
		}
	}
	n, _ := strconv.Atoi(h.Get("Retry-After"))
	return min(time.Duration(max(0, n))*time.Second, longestRetryAfter)
}
