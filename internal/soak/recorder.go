package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// key is whose token it is, and what for.
type key struct {
	credential credentialKind
	dropped    string // tells a credential that is dropped from the others
	resource   string
}

func (k key) String() string { return fmt.Sprintf("%v%s for %s", k.credential, k.dropped, k.resource) }

// recorder knows each request from its begin to its end, and checks that it may be sent. mu guards all below it.
type recorder struct {
	*violations
	stalls *stalls

	mu        sync.Mutex
	underway  map[key][]*request
	doors     map[string]*door // by endpoint
	tokens    map[key][]answer // oldest first
	incidents []*incident      // oldest first
	outcomes  map[string]int   // of requests, by endpoint and status
	hedges    int              // requests beside one for the same token
	swarming  int              // requests for a resource of a swarm
}

func newRecorder(s *stalls, v *violations) *recorder {
	return &recorder{
		violations: v, stalls: s,
		underway: map[key][]*request{}, tokens: map[key][]answer{}, outcomes: map[string]int{},
		doors: map[string]*door{imdsName: {name: imdsName, parallel: 5, perSecond: 20}, entraName: newEntraDoor()},
	}
}

func newEntraDoor() *door { return &door{name: entraName, longestBackOff: 40 * time.Second} }

func (r *recorder) begin(now time.Time, k key, d *door, ctx context.Context) *request {
	r.mu.Lock()
	q := &request{key: k, ctx: ctx, door: d, began: now, age: d.closings, pair: new(bool)}
	others := slices.DeleteFunc(r.underway[k], func(q *request) bool { return !q.alive() })
	if len(others) > 0 {
		q.pair = others[0].pair
		r.hedges++
	}
	r.underway[k] = append(slices.Clone(others), q)
	if isOfSwarm(k.resource) {
		r.swarming++
	}
	broken, closed := d.enter(now, q), d.closed
	r.mu.Unlock()
	r.checkHedge(now, q, others)
	for _, b := range broken {
		if b.ofGate && !r.stalls.exceeds(closed, now, grace) {
			continue // it may have been admitted before the answer that closed the gate
		}
		if b.stall == 0 || r.stalls.lost(now.Add(-2*time.Second), now) < b.stall {
			r.add(b.promise, "%v: %s", k, b.detail)
		}
	}
	return q
}

// checkHedge checks a request beside others for the same token.
func (r *recorder) checkHedge(now time.Time, q *request, others []*request) {
	if len(others) == 0 {
		return
	}
	first := others[0]
	after, least := now.Sub(first.began), first.silence()
	switch {
	case len(others) > 1:
		r.add("two requests for a key at most", "%v: a further one, %v after the first", q.key, after)
	case after+grace < least && after+grace+r.stalls.lost(first.began.Add(-time.Second), now) < least:
		r.add("one request for a key, but after silence", "%v: a second one, %v after the first", q.key, after)
	}
}

// end takes the request out. resp is nil if there was no answer, or if the transport panicked.
func (r *recorder) end(now time.Time, q *request, resp *http.Response) {
	outcome := "no answer"
	var body []byte
	var err error
	if resp != nil {
		outcome = fmt.Sprint(resp.StatusCode)
		body, err = runtime.Payload(resp)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcomes[q.door.name+" "+outcome]++
	left := slices.DeleteFunc(slices.Clone(r.underway[q.key]), func(other *request) bool { return other == q })
	if r.underway[q.key] = left; len(left) == 0 {
		delete(r.underway, q.key)
	}
	q.door.leave(q)
	if resp == nil || err != nil {
		return
	}
	q.door.answered(now, q, resp)
	if a, ok := readAnswer(body, q.began, now); ok && resp.StatusCode/100 == 2 {
		a.late = !q.alive() || *q.pair
		*q.pair = true
		r.tokens[q.key] = append(r.tokens[q.key], a)
	}
}

// sweep forgets what expired long ago, so that a run of days takes no more memory than one of minutes.
func (r *recorder) sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, known := range r.tokens {
		known = slices.DeleteFunc(known, func(a answer) bool { return now.Sub(a.expires) > time.Minute })
		if r.tokens[k] = slices.Clip(known); len(known) == 0 {
			delete(r.tokens, k)
		}
	}
	r.incidents = slices.DeleteFunc(r.incidents, func(i *incident) bool {
		return !i.to.IsZero() && now.Sub(i.to) > time.Minute
	})
}

// find returns what was answered to a request for the key: the newest with this token, or where that is "" the newest
// that must be known.
func (r *recorder) find(k key, token string) (answer, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range slices.Backward(r.tokens[k]) {
		if token == "" && !a.late || token != "" && a.token == digestOf(token) {
			return a, true
		}
	}
	return answer{}, false
}

// open returns when the endpoint's gate was open at the latest.
func (r *recorder) open(endpoint string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.doors[endpoint].open
}
