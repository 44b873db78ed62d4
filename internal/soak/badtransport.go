package main

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync"
	"time"
)

// A badTransport misbehaves for one request in so many. Zero: never.
const (
	stuckOneIn = 80
	panicOneIn = 80

	// badOneIn is the share of callers with such a transport: one in so many. The others use the default transport,
	// which would show the use of a proxy.
	badOneIn = 3
)

var errStuck = errors.New("the transport was stuck")

// incident is one misbehaviour of a transport.
type incident struct {
	key      key
	panicked bool
	from, to time.Time // to is zero while the transport is blocked
}

// badTransport is a user's transport that misbehaves at random. It blocks and ignores the context of the request,
// panics, or ends its goroutine.
type badTransport struct {
	recorder *recorder
	client   *http.Client
	on       <-chan struct{} // it misbehaves after this is closed
	off      <-chan struct{} // and until this is closed

	mu       sync.Mutex // guards all fields below
	r        *rand.Rand
	outcomes map[string]int
}

func newBadTransport(seed uint64, r *recorder, on, off <-chan struct{}) *badTransport {
	return &badTransport{recorder: r, on: on, off: off, r: stream(seed, badTransportStream), outcomes: map[string]int{},
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
}

func (t *badTransport) Do(req *http.Request) (*http.Response, error) {
	q, observed := req.Context().Value(requestKey{}).(*request)
	if !observed || !isClosed(t.on) || isClosed(t.off) {
		return t.client.Do(req)
	}
	stuck, panics := t.draw()
	switch {
	case panics != nil:
		t.recorder.note(incident{key: q.key, panicked: true, from: time.Now(), to: time.Now()})
		panics()
	case stuck.length > 0:
		return t.block(req, q, stuck)
	}
	return t.client.Do(req)
}

// counts returns how often each kind of misbehaviour happened.
func (t *badTransport) counts() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.outcomes)
}

// blocking is how long a transport blocks, and whether it first gets the answer.
type blocking struct {
	length      time.Duration
	afterAnswer bool
}

// draw chooses how a request fails. panics is nil if it does not panic. The zero blocking means that it does not block.
func (t *badTransport) draw() (h blocking, panics func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case panicOneIn > 0 && t.r.IntN(panicOneIn) == 0:
		t.outcomes["panicked"]++
		how := t.r.IntN(3)
		return h, func() {
			switch how {
			case 0:
				panic(forbiddenText + " of a panic")
			case 1:
				panic(errors.New(forbiddenText + " of a panic"))
			}
			runtime.Goexit()
		}
	case stuckOneIn > 0 && t.r.IntN(stuckOneIn) == 0:
		t.outcomes["stuck"]++
		return blocking{between(t.r, 5*time.Second, 70*time.Second), t.r.IntN(2) == 0}, nil
	}
	return h, nil
}

// block returns late. With h.afterAnswer, it returns the answer that arrived in time, which must stay readable after
// the request ends.
func (t *badTransport) block(req *http.Request, q *request, h blocking) (resp *http.Response, err error) {
	done := t.recorder.note(incident{key: q.key, from: time.Now()})
	defer done()
	err = errStuck
	if h.afterAnswer {
		if resp, err = t.client.Do(req); err == nil {
			var body []byte
			body, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			resp.Body = io.NopCloser(bytes.NewReader(body))
		}
	}
	timer := time.NewTimer(h.length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.off:
	}
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// note records an incident. done records its end.
func (r *recorder) note(i incident) (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := &i
	r.incidents = append(r.incidents, kept)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		kept.to = time.Now()
	}
}

// excused reports whether a badTransport may be the cause of a failed call. There are two cases: a panic, whose error
// the library may repeat for a second, and two requests for the key that are blocked at once.
func (r *recorder) excused(k key, from, to time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	stuck := 0
	for _, i := range r.incidents {
		switch {
		case i.key != k || i.from.After(to):
		case i.panicked && i.from.After(from.Add(-1500*time.Millisecond)):
			return true
		case !i.panicked && i.from.After(from.Add(-2*tryTimeout)) && (i.to.IsZero() || i.to.After(from)):
			stuck++
		}
	}
	return stuck > 1
}
