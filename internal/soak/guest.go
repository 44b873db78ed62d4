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

// A guest is a transport of the user's that misbehaves: one request in so many, never where it is zero.
const (
	stuckOneIn = 80
	panicOneIn = 80

	// ofGuest is the share of the callers whose credentials have such a transport. The others' show whether a proxy is
	// used.
	ofGuest = 3
)

var errStuck = errors.New("the transport was stuck")

// incident is a misbehaviour that a request met.
type incident struct {
	key      key
	panicked bool
	from, to time.Time // to is zero as long as the transport is stuck
}

// guest gets stuck, whatever the request's context says, and panics or ends its goroutine, at random.
type guest struct {
	recorder *recorder
	client   *http.Client
	on       <-chan struct{} // it behaves before this is closed
	off      <-chan struct{} // and after this is

	mu       sync.Mutex
	r        *rand.Rand // guarded by mu, as is the rest
	outcomes map[string]int
}

func newGuest(seed uint64, r *recorder, on, off <-chan struct{}) *guest {
	return &guest{recorder: r, on: on, off: off, r: stream(seed, guestStream), outcomes: map[string]int{},
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
}

func (g *guest) Do(req *http.Request) (*http.Response, error) {
	q, observed := req.Context().Value(requestKey{}).(*request)
	if !observed || !isClosed(g.on) || isClosed(g.off) {
		return g.client.Do(req)
	}
	stuck, panics := g.draw()
	switch {
	case panics != nil:
		g.recorder.note(incident{key: q.key, panicked: true, from: time.Now(), to: time.Now()})
		panics()
	case stuck.length > 0:
		return g.hang(req, q, stuck)
	}
	return g.client.Do(req)
}

// counts is how often which of it has happened.
func (g *guest) counts() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.outcomes)
}

// hanging is how a transport gets stuck: before the request is sent, or with its answer.
type hanging struct {
	length   time.Duration
	answered bool
}

// draw says what goes wrong with a request, if anything does.
func (g *guest) draw() (h hanging, panics func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case panicOneIn > 0 && g.r.IntN(panicOneIn) == 0:
		g.outcomes["panicked"]++
		how := g.r.IntN(3)
		return h, func() {
			switch how {
			case 0:
				panic(unspeakable + " of a panic")
			case 1:
				panic(errors.New(unspeakable + " of a panic"))
			}
			runtime.Goexit()
		}
	case stuckOneIn > 0 && g.r.IntN(stuckOneIn) == 0:
		g.outcomes["stuck"]++
		return hanging{between(g.r, 5*time.Second, 70*time.Second), g.r.IntN(2) == 0}, nil
	}
	return h, nil
}

// hang returns late, and with h.answered what came in time, which the request's end must not undo.
func (g *guest) hang(req *http.Request, q *request, h hanging) (resp *http.Response, err error) {
	done := g.recorder.note(incident{key: q.key, from: time.Now()})
	defer done()
	err = errStuck
	if h.answered {
		if resp, err = g.client.Do(req); err == nil {
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
	case <-g.off:
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

// note keeps an incident until some time after it is done.
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

// excused tells whether a guest may be why a call failed: by a panic, whose error may be repeated for a second, or by
// being stuck with two requests for the key at once.
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
