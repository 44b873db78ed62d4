package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

const (
	// leastBackOff is less than the shortest pause after a 429 that names none: half a second.
	leastBackOff = 400 * time.Millisecond

	// longestRetryAfter is what a longer Retry-After is cut to.
	longestRetryAfter = 5 * time.Minute

	// overdue is when a request without an answer no longer holds others up: a second, less what the machine takes.
	overdue = 900 * time.Millisecond

	// grown is the number of good answers after which the growth has ended, whatever the endpoint's limits are.
	grown = 16
)

// door is what is known about an endpoint from its requests and answers alone. Where the order of things that happened
// at once is not known, it is the one that allows more.
type door struct {
	name                string
	parallel, perSecond int           // zero: no limit
	longestBackOff      time.Duration // after a 429 that names no pause; zero: too short to matter to a patient call

	underway []*request  // those that were cancelled may be among them
	begun    []time.Time // within the last second, oldest first
	closed   time.Time   // when it was closed last
	opens    time.Time   // at the earliest
	open     time.Time   // at the latest
	closings int
	good     int // answers since it opened; requests grow with them
}

// breach is a promise that a request breaks.
type breach struct {
	promise, detail string
	ofGate          bool          // unless it was admitted before the gate was closed
	stall           time.Duration // unless the process was held up for so long; zero: nothing excuses it
}

// enter notes a request that begins.
func (d *door) enter(now time.Time, q *request) (broken []breach) {
	d.underway = append(slices.DeleteFunc(d.underway, func(q *request) bool { return !q.alive() }), q)
	d.begun = slices.DeleteFunc(append(d.begun, now), func(t time.Time) bool { return now.Sub(t) >= time.Second })
	if n := len(d.underway); d.parallel > 0 && n > d.parallel {
		broken = append(broken, breach{promise: "five requests at once", detail: fmt.Sprintf("%d at %s", n, d.name)})
	}
	if excess := len(d.begun) - d.perSecond; d.perSecond > 0 && excess > 0 {
		broken = append(broken, breach{promise: "twenty requests in a second",
			stall: time.Second - now.Sub(d.begun[excess-1]), detail: fmt.Sprintf("%d at %s", len(d.begun), d.name)})
	}
	if now.Before(d.opens) {
		broken = append(broken, breach{promise: "no request while the gate is closed", ofGate: true,
			detail: fmt.Sprintf("%s opens in %v", d.name, d.opens.Sub(now))})
	} else {
		d.open = earlier(d.open, now)
	}
	ages := d.ages(now)
	if excess := len(ages) - 1 - d.good; excess > 0 && d.good < grown {
		broken = append(broken, breach{promise: "requests grow with the good answers", ofGate: true,
			stall:  overdue - ages[excess-1],
			detail: fmt.Sprintf("%d at %s after %d good answers", len(ages), d.name, d.good)})
	}
	return broken
}

// ages are those of the requests since the opening whose answers may be waited for, oldest first.
func (d *door) ages(now time.Time) (ages []time.Duration) {
	for _, q := range d.underway {
		if age := now.Sub(q.began); !q.began.Before(d.opens) && age < overdue {
			ages = append(ages, age)
		}
	}
	return ages
}

func (d *door) leave(q *request) {
	d.underway = slices.DeleteFunc(d.underway, func(other *request) bool { return other == q })
}

// answered follows design.md's fifth promise. A server error other than 503 may close the gate if it names a pause, and
// so may what is answered to a request that was cancelled.
func (d *door) answered(now time.Time, q *request, resp *http.Response) {
	pause, current, code := pauseIn(resp.Header), q.age == d.closings, resp.StatusCode
	throttled := code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable && pause > 0
	if throttled || code >= 500 && pause > 0 {
		d.open = later(d.open, now.Add(d.longest(pause)))
	}
	switch {
	case throttled && q.alive():
		if current {
			d.closings++
			d.good = 0
			if pause == 0 {
				pause = leastBackOff
			}
		}
		d.opens, d.closed = later(d.opens, now.Add(pause)), now
	case !throttled && code < 500 && !now.Before(d.opens):
		d.good++
	}
}

// longest is how long the gate may stay closed: Retry-After with jitter above it.
func (d *door) longest(pause time.Duration) time.Duration {
	if pause == 0 {
		return d.longestBackOff
	}
	return pause + pause*35/100 + 500*time.Millisecond
}

// pauseIn reads the forms of Retry-After that the faults have.
func pauseIn(h http.Header) time.Duration {
	for _, name := range []string{"Retry-After-Ms", "X-Ms-Retry-After-Ms"} {
		if n, err := strconv.Atoi(h.Get(name)); err == nil && n > 0 {
			return min(time.Duration(n)*time.Millisecond, longestRetryAfter)
		}
	}
	n, _ := strconv.Atoi(h.Get("Retry-After"))
	return min(time.Duration(max(0, n))*time.Second, longestRetryAfter)
}
