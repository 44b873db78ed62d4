package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// leastBackOff is the shortest pause after a 429 that names none.
const leastBackOff = 800 * time.Millisecond

// door is what is known about an endpoint from its requests and answers alone. Where the order of things that happened at
// once is not known, it is the one that allows more.
type door struct {
	name                string
	parallel, perSecond int // zero: no limit

	underway int
	begun    []time.Time // within the last second
	closed   time.Time   // when it was closed last
	opens    time.Time
	closings int
	trusted  bool // it has answered since it was closed; before that, one request goes alone
}

// breach is a promise that a request breaks. ofGate: unless it was admitted before the gate was closed.
type breach struct {
	promise, detail string
	ofGate          bool
}

func (d *door) enter(now time.Time) (broken []breach) {
	d.underway++
	d.begun = slices.DeleteFunc(append(d.begun, now), func(t time.Time) bool { return now.Sub(t) >= time.Second })
	if d.parallel > 0 && d.underway > d.parallel {
		broken = append(broken, breach{"five requests at once", fmt.Sprintf("%d at %s", d.underway, d.name), false})
	}
	if d.perSecond > 0 && len(d.begun) > d.perSecond {
		broken = append(broken, breach{"twenty requests in a second", fmt.Sprintf("%d at %s", len(d.begun), d.name), false})
	}
	if now.Before(d.opens) {
		broken = append(broken, breach{"no request while the gate is closed", fmt.Sprintf("%s opens in %v", d.name, d.opens.Sub(now)), true})
	}
	if !d.trusted && d.underway > 1 {
		broken = append(broken, breach{"one request alone after a pause", fmt.Sprintf("%d at %s", d.underway, d.name), true})
	}
	return broken
}

// answered follows design.md's fifth promise. age is the number of closings before the request.
func (d *door) answered(now time.Time, age int, resp *http.Response) {
	pause, current := pauseIn(resp.Header), age == d.closings
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests, code >= 500 && pause > 0:
		if current {
			d.closings++
			d.trusted = false
			if pause == 0 {
				pause = leastBackOff
			}
		}
		d.opens, d.closed = later(d.opens, now.Add(pause)), now
	case code != http.StatusServiceUnavailable && current:
		d.trusted = true
	}
}

// pauseIn reads the forms of Retry-After that the faults have.
func pauseIn(h http.Header) time.Duration {
	for _, name := range []string{"Retry-After-Ms", "X-Ms-Retry-After-Ms"} {
		if n, err := strconv.Atoi(h.Get(name)); err == nil && n > 0 {
			return time.Duration(n) * time.Millisecond
		}
	}
	n, _ := strconv.Atoi(h.Get("Retry-After"))
	return time.Duration(max(0, n)) * time.Second
}
