package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/managedid/managedid/managedidtest"
)

// phase is a period in which an endpoint has one kind of fault. Its faults are a script.
type phase struct {
	kind      string
	length    time.Duration
	condition condition
	faults    []managedidtest.Fault
}

// kind is a kind of fault. A kind with more weight is chosen more often.
type kind struct {
	name   string
	weight int
	fault  func(*rand.Rand) managedidtest.Fault
}

const (
	none  = "none"
	lossy = "2 % of answers lost"

	// never is the delay of an answer that counts as lost.
	never = 10 * time.Minute

	short = 12 * time.Second // most outages are not longer
)

var kinds = []kind{
	{none, 12, func(*rand.Rand) managedidtest.Fault { return managedidtest.Fault{} }},
	{lossy, 4, func(*rand.Rand) managedidtest.Fault { return managedidtest.Fault{} }},
	{"slow", 12, func(r *rand.Rand) managedidtest.Fault {
		return managedidtest.Fault{Delay: between(r, 20*time.Millisecond, 2*time.Second)}
	}},
	{"too slow", 2, func(r *rand.Rand) managedidtest.Fault {
		return managedidtest.Fault{Delay: between(r, tryTimeout-200*time.Millisecond, tryTimeout+2*time.Second)}
	}},
	{"short-lived token", 18, shortLived(6)},
	{"token to renew", 8, shortLived(45)},
	{"slow body", 2, func(*rand.Rand) managedidtest.Fault { return managedidtest.Fault{Pace: time.Millisecond} }},
	{"body cut off", 3, func(r *rand.Rand) managedidtest.Fault { return managedidtest.Fault{Cut: 1 + r.IntN(300)} }},
	{"expired token", 4, status(200, `{"access_token":"expired","expires_in":"3600","expires_on":"1600000000"}`)},
	{"broken JSON", 4, status(200, `{"access_token":"cut off","expires_in":"36`)},
	{"HTML", 4, func(*rand.Rand) managedidtest.Fault {
		return managedidtest.Fault{Status: 200, Body: "<html>Sign in</html>",
			Header: http.Header{"Content-Type": {"text/html"}, "Server": nil}}
	}},
	{"400", 2, status(400, `{"error":"invalid_request","error_description":"made up"}`)},
	{"404", 4, status(404, "")},
	{"410", 4, status(410, "")},
	{"429", 6, status(429, `{"error":"too_many_requests"}`)},
	{"429 with Retry-After", 6, retryAfter(429)},
	{"429 with nonsense", 2, func(r *rand.Rand) managedidtest.Fault {
		nonsense := []string{"-5", "soon", "0", "Thu, 01 Jan 1970 00:00:00 GMT", "1e3"}
		return managedidtest.Fault{Status: 429, Header: http.Header{"Retry-After": {nonsense[r.IntN(len(nonsense))]}}}
	}},
	{"5xx", 6, func(r *rand.Rand) managedidtest.Fault {
		return managedidtest.Fault{Status: []int{500, 502, 503, 504, 599}[r.IntN(5)]}
	}},
	{"500 with Retry-After", 3, retryAfter(500)},
	{"503 with Retry-After", 5, retryAfter(503)},
	{"reset", 5, func(r *rand.Rand) managedidtest.Fault {
		return managedidtest.Fault{Reset: true, Delay: between(r, 0, 300*time.Millisecond)}
	}},
	{"refused", 5, func(*rand.Rand) managedidtest.Fault { return managedidtest.Fault{Refused: true} }},
}

// outages are long faults. A period without faults follows each of them.
var outages = []kind{
	{"outage of 500", 4, status(500, "")},
	{"outage of 429 with Retry-After", 4, func(*rand.Rand) managedidtest.Fault {
		return managedidtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"1"}}}
	}},
	{"outage of 429", 4, status(429, `{"error":"too_many_requests"}`)},
	{"outage of refusals", 4, func(*rand.Rand) managedidtest.Fault { return managedidtest.Fault{Refused: true} }},
	{"outage of silence", 4, func(*rand.Rand) managedidtest.Fault { return managedidtest.Fault{Delay: never} }},
}

func status(code int, body string) func(*rand.Rand) managedidtest.Fault {
	return func(*rand.Rand) managedidtest.Fault { return managedidtest.Fault{Status: code, Body: body} }
}

// shortLived answers every request of the phase with the same opaque token. It lives for at most so many seconds.
func shortLived(longest int) func(*rand.Rand) managedidtest.Fault {
	return func(r *rand.Rand) managedidtest.Fault {
		lifetime := 1 + r.IntN(longest)
		const body = `{"access_token":"%s%d","expires_in":"%d","refresh_in":"%d"}`
		return managedidtest.Fault{Delay: between(r, 0, 150*time.Millisecond),
			Body: fmt.Sprintf(body, opaque, r.Uint64(), lifetime, 1+r.IntN(lifetime))}
	}
}

// retryAfter answers with a status and the Retry-After header, or with one of its forms in milliseconds.
func retryAfter(code int) func(*rand.Rand) managedidtest.Fault {
	return func(r *rand.Rand) managedidtest.Fault {
		header := http.Header{"Retry-After": {fmt.Sprint(1 + r.IntN(6))}}
		if name := []string{"", "Retry-After-Ms", "X-Ms-Retry-After-Ms"}[r.IntN(3)]; name != "" {
			header = http.Header{name: {fmt.Sprint(200 + r.IntN(4000))}}
		}
		return managedidtest.Fault{Status: code, Header: header, Delay: between(r, 0, 100*time.Millisecond)}
	}
}

// losses lose one answer in fifty on average. An empty fault stands for the answers that arrive.
func losses(r *rand.Rand) (script []managedidtest.Fault) {
	for range 40 {
		script = append(script, managedidtest.Fault{Count: 1 + r.IntN(98)}, managedidtest.Fault{Count: 1, Delay: never})
	}
	return script
}

// oneOf chooses a kind by weight.
func oneOf(r *rand.Rand, kinds []kind) kind {
	total, i := 0, 0
	for _, k := range kinds {
		total += k.weight
	}
	for n := r.IntN(total); n >= kinds[i].weight; i++ {
		n -= kinds[i].weight
	}
	return kinds[i]
}

// nextPhases returns the next phases of an endpoint.
func nextPhases(r *rand.Rand) []phase {
	if r.IntN(8) == 0 {
		return nextOutage(r)
	}
	k := oneOf(r, kinds)
	p := phase{kind: k.name, length: between(r, 300*time.Millisecond, 5*time.Second)}
	switch k.name {
	case none:
		p.condition = healthy
	case lossy:
		p.condition, p.faults, p.length = losing, losses(r), between(r, 10*time.Second, 30*time.Second)
	default:
		f := k.fault(r)
		if count := 1 + r.IntN(8); r.IntN(2) == 0 && !f.Refused {
			f.Count = count
		}
		p.faults = []managedidtest.Fault{f}
	}
	return []phase{p}
}

// firstPhases returns a short outage and the period after it, so that even a run of one minute has an outage.
func firstPhases(r *rand.Rand) []phase {
	phases := nextOutage(r)
	phases[0].length = min(phases[0].length, short)
	return phases
}

// nextOutage returns an outage of up to a minute, and the period after it.
func nextOutage(r *rand.Rand) []phase {
	k := oneOf(r, outages)
	length := between(r, time.Second, short)
	if r.IntN(5) == 0 {
		length = between(r, 15*time.Second, time.Minute)
	}
	return []phase{
		{kind: k.name, length: length, faults: []managedidtest.Fault{k.fault(r)}},
		{kind: none, length: between(r, 10*time.Second, 18*time.Second), condition: healthy},
	}
}
