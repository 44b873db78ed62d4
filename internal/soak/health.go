package main

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// mood is how an endpoint is.
type mood string

const (
	faulty  mood = "" // anything may go wrong
	healthy mood = "healthy"
	losing  mood = "losing 2 % of answers"
)

// change is what the parent tells the child: how an endpoint is from now on. It is told before things go wrong, and
// after they have come right.
type change struct {
	Endpoint string
	Mood     mood
	At       time.Duration // since the child was ready
}

// teller is the parent's side of it.
type teller struct {
	ready time.Time

	mu  sync.Mutex
	out *json.Encoder // guarded by mu
}

func (t *teller) tell(endpoint string, m mood) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.out.Encode(change{endpoint, m, time.Since(t.ready)}) // fails where the child has ended
}

// span is a time in which an endpoint was as it was: from at the latest, until at the earliest, zero meaning that it
// lasts.
type span struct {
	mood        mood
	from, until time.Time
}

// spansKept are those of some minutes, at each endpoint.
const spansKept = 100

// health is what the child knows from the parent. Between the two clocks lies no more than between ready and began.
type health struct {
	mu    sync.Mutex
	ready time.Time         // before the parent knew that the child was ready; guarded by mu, as is the rest
	began time.Time         // after the parent knew it
	spans map[string][]span // by endpoint, oldest first
}

// setReady is called just before the parent is told.
func (h *health) setReady(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready = now
}

// listen follows the parent's word until there is no more of it.
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
		if known[n-1].mood == c.Mood {
			return
		}
		known[n-1].until = h.ready.Add(c.At)
	}
	known = append(known, span{mood: c.Mood, from: h.began.Add(c.At)})
	h.spans[c.Endpoint] = known[max(0, len(known)-spansKept):]
}

// during returns the span of an endpoint that has all of a time in it.
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
