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

// key identifies a token: its credential and its resource.
type key struct {
	credential credentialKind
	dropped    string // identifies a dropped credential; "" for others
	resource   string
}

func (k key) String() string { return fmt.Sprintf("%v%s for %s", k.credential, k.dropped, k.resource) }

// recorder records each request from start to end, and checks that it may be sent.
type recorder struct {
	*violations
	stalls *stalls

	mu            sync.Mutex // guards all fields below
	underway      map[key][]*request
	gates         map[string]*gateModel // by endpoint
	tokens        map[key][]answer      // oldest first
	incidents     []*incident           // oldest first
	outcomes      map[string]int        // of requests, by endpoint and status
	hedges        int                   // requests beside another one for the same token
	swarmRequests int                   // requests for resources of swarms
}

func newRecorder(s *stalls, v *violations) *recorder {
	return &recorder{
		violations: v, stalls: s,
		underway: map[key][]*request{}, tokens: map[key][]answer{}, outcomes: map[string]int{},
		gates: map[string]*gateModel{imdsName: {name: imdsName, parallel: 5, perSecond: 20}, entraName: newEntraGate()},
	}
}

func newEntraGate() *gateModel { return &gateModel{name: entraName, longestBackOff: 40 * time.Second} }

// begin records a request that starts, and checks it.
func (r *recorder) begin(now time.Time, k key, g *gateModel, ctx context.Context) *request {
	r.mu.Lock()
	q := &request{key: k, ctx: ctx, gate: g, began: now, age: g.closings, pair: new(bool)}
	others := slices.DeleteFunc(r.underway[k], func(q *request) bool { return !q.alive() })
	if len(others) > 0 {
		q.pair = others[0].pair
		r.hedges++
	}
	r.underway[k] = append(slices.Clone(others), q)
	if isSwarmResource(k.resource) {
		r.swarmRequests++
	}
	broken, closed := g.enter(now, q), g.closed
	r.mu.Unlock()
	r.checkHedge(now, q, others)
	for _, b := range broken {
		if b.gateRule && !r.stalls.exceeds(closed, now, grace) {
			continue // the request may have been admitted before the answer closed the gate
		}
		if b.stall == 0 || r.stalls.lost(now.Add(-2*time.Second), now) < b.stall {
			r.add(b.promise, "%v: %s", k, b.detail)
		}
	}
	return q
}

// checkHedge checks a request that starts while others for the same token have no answer.
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

// end records the end of a request. resp is nil if there was no answer or the transport panicked.
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
	r.outcomes[q.gate.name+" "+outcome]++
	others := slices.DeleteFunc(slices.Clone(r.underway[q.key]), func(other *request) bool { return other == q })
	if r.underway[q.key] = others; len(others) == 0 {
		delete(r.underway, q.key)
	}
	q.gate.leave(q)
	if resp == nil || err != nil {
		return
	}
	q.gate.answered(now, q, resp)
	if a, ok := readAnswer(body, q.began, now); ok && resp.StatusCode/100 == 2 {
		a.late = !q.alive() || *q.pair
		*q.pair = true
		r.tokens[q.key] = append(r.tokens[q.key], a)
	}
}

// sweep removes old records, so that the memory does not grow with the length of a run.
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

// find returns the newest recorded answer for the key with this token. If token is "", it returns the newest answer
// that the library must know.
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

// open returns the latest time at which the gate of the endpoint opened.
func (r *recorder) open(endpoint string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gates[endpoint].opensLatest
}
