package main

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// condition is the state of an endpoint.
type condition string

const (
	faulty  condition = "" // anything may go wrong
	healthy condition = "healthy"
	losing  condition = "losing 2 % of answers"
)

// change is a message from the parent to the child: the condition of an endpoint from now on. The parent sends it
// before faults begin, and after they have ended.
type change struct {
	Endpoint  string
	Condition condition
	At        time.Duration // since the child was ready
}

// reporter sends changes to the child.
type reporter struct {
	ready time.Time

	mu  sync.Mutex
	out *json.Encoder // guarded by mu
}

func (t *reporter) report(endpoint string, m condition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// Encode fails if the child has ended.
	t.out.Encode(change{endpoint, m, time.Since(t.ready)})
}

// span is a period with one condition of an endpoint. The condition begins at from or earlier. It ends at until or
// later, or not at all if until is zero.
type span struct {
	condition   condition
	from, until time.Time
}

// spansKept is the number of spans kept for each endpoint. They cover some minutes.
const spansKept = 100

// health is what the child knows about the endpoints from the parent. The clocks of both differ by no more than the
// time between ready and began.
type health struct {
	mu    sync.Mutex        // guards all fields below
	ready time.Time         // before the parent learned that the child was ready
	began time.Time         // after the parent learned it
	spans map[string][]span // by endpoint, oldest first
}

// setReady must be called just before the child tells the parent that it is ready.
func (h *health) setReady(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready = now
}

// listen applies the messages of the parent until in ends.
func (h *health) listen(in io.Reader) {
	decoder := json.NewDecoder(in)
	for {
		var c change
		if decoder.Decode(&c) != nil {
			return
		}
		h.apply(time.Now(), c)
	}
}

func (h *health) apply(now time.Time, c change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.began.IsZero() {
		h.began = now.Add(-c.At)
	}
	known := h.spans[c.Endpoint]
	if n := len(known); n > 0 {
		if known[n-1].condition == c.Condition {
			return
		}
		known[n-1].until = h.ready.Add(c.At)
	}
	known = append(known, span{condition: c.Condition, from: h.began.Add(c.At)})
	h.spans[c.Endpoint] = known[max(0, len(known)-spansKept):]
}

// during returns the span of the endpoint that contains the whole period.
func (h *health) during(endpoint string, from, to time.Time) (span, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.spans[endpoint] {
		if !from.Before(s.from) && (s.until.IsZero() || to.Before(s.until)) {
			return s, true
		}
	}
	return span{}, false
}
