package main

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/managedid/managedid/managedidtest"
)

const (
	callers   = 200
	resources = 20
)

// The streams of random numbers of one seed. Each is read by one goroutine, so that its numbers don't depend on the others.
const (
	suspensionStream = iota
	imdsStream
	entraStream
	callerStream             // and those behind it
	warmStream   = 1_000_000 // likewise
)

func stream(seed, number uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, number)) }

// between returns a time at random, in milliseconds.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64((most-least)/time.Millisecond)+1))*time.Millisecond
}

// phase is a time in which one thing goes wrong at an endpoint.
type phase struct {
	kind   string
	length time.Duration
	fault  managedidtest.Fault
}

// kind is a way for things to go wrong. Kinds that are listed with more weight come more often.
type kind struct {
	name   string
	weight int
	fault  func(*rand.Rand) managedidtest.Fault
}

const none = "none"

var kinds = []kind{
	{none, 12, func(*rand.Rand) managedidtest.Fault { return managedidtest.Fault{} }},
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
		return managedidtest.Fault{Status: 200, Body: "<html>Sign in</html>", Header: http.Header{"Content-Type": {"text/html"}, "Server": nil}}
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

func status(code int, body string) func(*rand.Rand) managedidtest.Fault {
	return func(*rand.Rand) managedidtest.Fault { return managedidtest.Fault{Status: code, Body: body} }
}

// shortLived answers with one and the same opaque token.
func shortLived(longest int) func(*rand.Rand) managedidtest.Fault {
	return func(r *rand.Rand) managedidtest.Fault {
		lifetime := 1 + r.IntN(longest)
		return managedidtest.Fault{Delay: between(r, 0, 150*time.Millisecond), Body: fmt.Sprintf(
			`{"access_token":"opaque-%d","expires_in":"%d","refresh_in":"%d"}`, r.Uint64(), lifetime, 1+r.IntN(lifetime))}
	}
}

// retryAfter has the header in seconds or in one of its forms with milliseconds.
func retryAfter(code int) func(*rand.Rand) managedidtest.Fault {
	return func(r *rand.Rand) managedidtest.Fault {
		header := http.Header{"Retry-After": {fmt.Sprint(1 + r.IntN(6))}}
		if name := []string{"", "Retry-After-Ms", "X-Ms-Retry-After-Ms"}[r.IntN(3)]; name != "" {
			header = http.Header{name: {fmt.Sprint(200 + r.IntN(4000))}}
		}
		return managedidtest.Fault{Status: code, Header: header, Delay: between(r, 0, 100*time.Millisecond)}
	}
}

// nextPhase is what goes wrong next at an endpoint.
func nextPhase(r *rand.Rand) phase {
	total, i := 0, 0
	for _, k := range kinds {
		total += k.weight
	}
	for n := r.IntN(total); n >= kinds[i].weight; i++ {
		n -= kinds[i].weight
	}
	p := phase{kind: kinds[i].name, fault: kinds[i].fault(r), length: between(r, 300*time.Millisecond, 5*time.Second)}
	if count := 1 + r.IntN(8); r.IntN(2) == 0 && !p.fault.Refused {
		p.fault.Count = count
	}
	return p
}

// nextSuspension is when the process is suspended next, and for how long.
func nextSuspension(r *rand.Rand) (after, length time.Duration) {
	after, length = between(r, 3*time.Second, 20*time.Second), between(r, 50*time.Millisecond, time.Second)
	if r.IntN(4) == 0 {
		length *= 4
	}
	return after, length
}

type patience int

const (
	endless  patience = iota // a context without end
	deadline                 // one with a deadline
	leaving                  // one that is cancelled
)

// plan is what a goroutine does next.
type plan struct {
	pause      time.Duration
	credential credentialKind
	resource   int
	patience   patience
	after      time.Duration // until the deadline or the cancellation; zero: it has ended before the call
}

func next(r *rand.Rand) plan {
	p := plan{
		pause:      between(r, 0, 400*time.Millisecond),
		credential: credentialKind(r.IntN(int(credentialKinds))),
		resource:   r.IntN(resources),
		patience:   []patience{endless, deadline, deadline, deadline, leaving}[r.IntN(5)],
	}
	longest := []time.Duration{1, 5 * time.Millisecond, 100 * time.Millisecond, 2 * time.Second, 20 * time.Second}[r.IntN(5)]
	p.after = time.Duration(r.Int64N(int64(longest)))
	return p
}

// fingerprint tells schedules apart, by the beginning of each stream.
func fingerprint(seed uint64) string {
	h := fnv.New64a()
	imds, entra, pauses := stream(seed, imdsStream), stream(seed, entraStream), stream(seed, suspensionStream)
	for i := range uint64(callers) {
		after, length := nextSuspension(pauses)
		fmt.Fprintln(h, nextPhase(imds), nextPhase(entra), after, length, next(stream(seed, callerStream+i)))
	}
	return fmt.Sprintf("%x", h.Sum64())
}
