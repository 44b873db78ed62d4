package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// script is a sequence of events at a gate. Times are in milliseconds since its start.
type script struct {
	*testing.T
	gate     *gateModel
	start    time.Time
	requests map[string]*request
	cancels  map[string]context.CancelFunc
}

func newScript(t *testing.T, d *gateModel) *script {
	return &script{t, d, time.Now(), map[string]*request{}, map[string]context.CancelFunc{}}
}

func (s *script) at(ms int) time.Time { return s.start.Add(time.Duration(ms) * time.Millisecond) }

// begins starts a request and requires that it breaks exactly these promises.
func (s *script) begins(ms int, name string, broken ...string) {
	ctx, cancel := context.WithCancel(s.Context())
	q := &request{ctx: ctx, gate: s.gate, began: s.at(ms), age: s.gate.closings}
	s.requests[name], s.cancels[name] = q, cancel
	var promises []string
	for _, b := range s.gate.enter(s.at(ms), q) {
		promises = append(promises, b.promise)
	}
	require.Equal(s, broken, promises, "%s at %d ms", name, ms)
}

// ends answers a request with a status and Retry-After. "" means no Retry-After.
func (s *script) ends(ms int, name string, status int, retryAfter string) {
	s.gate.leave(s.requests[name])
	resp := &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {retryAfter}}}
	if ms, ok := strings.CutSuffix(retryAfter, "ms"); ok {
		resp.Header = http.Header{"Retry-After-Ms": {ms}}
	}
	s.gate.answered(s.at(ms), s.requests[name], resp)
}

const (
	tooMany = "requests grow with the good answers"
	shut    = "no request while the gate is closed"
	five    = "five requests at once"
	twenty  = "twenty requests in a second"
)

func TestGateModel(t *testing.T) {
	for name, play := range map[string]func(*script){
		"one request alone before the first answer": func(s *script) {
			s.begins(0, "a")
			s.begins(10, "b", tooMany)
		},
		"a good answer lets two go, and three let four": func(s *script) {
			s.begins(0, "a")
			s.ends(10, "a", 200, "")
			s.begins(11, "b")
			s.begins(12, "c")
			s.begins(13, "d", tooMany)
			s.ends(20, "b", 200, "")
			s.ends(21, "c", 400, "") // an error of the client is a good answer too
			s.begins(22, "e")
			s.begins(23, "f")
			s.begins(24, "g")
			s.begins(25, "h", tooMany)
		},
		"server errors are no good answers": func(s *script) {
			s.begins(0, "a")
			s.ends(10, "a", 500, "")
			s.begins(20, "b")
			s.ends(30, "b", 503, "")
			s.begins(40, "c")
			s.begins(50, "d", tooMany)
		},
		"a request without an answer for a second holds up nobody": func(s *script) {
			s.begins(0, "a")
			s.begins(1000, "b")
			s.begins(1500, "c", tooMany)
		},
		"nor does one that was cancelled": func(s *script) {
			s.begins(0, "a")
			s.cancels["a"]()
			s.begins(10, "b")
		},
		"after a pause they grow anew": func(s *script) {
			s.begins(0, "a")
			s.ends(10, "a", 200, "")
			s.begins(11, "b")
			s.begins(12, "c")
			s.ends(20, "b", 429, "1")
			s.begins(900, "d", shut)
			s.ends(901, "d", 200, "") // its request is from before the opening
			s.begins(1021, "e")
			s.begins(1022, "f", tooMany)
		},
		"503 closes the gate only with Retry-After, and other server errors need not": func(s *script) {
			s.begins(0, "a")
			s.ends(10, "a", 500, "3")
			s.begins(20, "b")
			s.ends(30, "b", 503, "3")
			s.begins(2900, "c", shut)
			s.begins(3031, "d")
		},
		"a 429 without Retry-After pauses for half a second": func(s *script) {
			s.begins(0, "a")
			s.ends(10, "a", 429, "")
			s.begins(300, "b", shut)
			s.cancels["b"]()
			s.begins(500, "c")
		},
		"a shorter pause that is named counts": func(s *script) {
			s.begins(0, "a")
			s.ends(10, "a", 429, "200ms")
			s.begins(150, "b", shut)
			s.cancels["b"]()
			s.begins(210, "c")
		},
		"Retry-After is cut to five minutes": func(s *script) {
			s.begins(0, "a")
			s.ends(0, "a", 429, "3600")
			s.begins(299_999, "b", shut)
			s.cancels["b"]()
			s.begins(300_000, "c")
		},
		"a 429 to a request from before the closing puts the opening off, but not the growth back": func(s *script) {
			s.begins(0, "a")
			s.begins(1000, "b")
			s.ends(1010, "a", 429, "1")
			s.ends(1100, "b", 429, "2")
			s.begins(2500, "c", shut)
			s.cancels["c"]()
			s.begins(3100, "d")
		},
		"a 429 to a cancelled request may be ignored": func(s *script) {
			s.begins(0, "a")
			s.cancels["a"]()
			s.ends(10, "a", 429, "1")
			s.begins(20, "b")
		},
		"five at once, whoever was cancelled not counted": func(s *script) {
			s.gate.good = growthLimit
			for i, name := range []string{"a", "b", "c", "d", "e"} {
				s.begins(i, name)
			}
			s.begins(10, "f", five)
			s.cancels["a"]()
			s.cancels["b"]()
			s.begins(20, "g")
		},
		"twenty in a second": func(s *script) {
			s.gate.good = growthLimit
			for i := range 20 {
				s.begins(i, "a")
				s.ends(i, "a", 200, "")
			}
			s.begins(999, "b", twenty)
			s.begins(1001, "c")
		},
	} {
		t.Run(name, func(t *testing.T) { play(newScript(t, &gateModel{name: imdsName, parallel: 5, perSecond: 20})) })
	}
}

func TestGateModel_openAtTheLatest(t *testing.T) {
	s := newScript(t, newEntraGate())
	s.begins(0, "a")
	s.ends(0, "a", 429, "2")
	require.Equal(t, s.at(3200), s.gate.opensLatest, "a third more, and half a second")
	s.begins(2100, "b")
	require.Equal(t, s.at(2100), s.gate.opensLatest, "a request shows that it is open")
	s.ends(2200, "b", 429, "")
	require.Equal(t, s.at(42_200), s.gate.opensLatest)
}

// A stall may lie between the admission of a request and its start.
func TestGateModel_stall(t *testing.T) {
	s := newScript(t, &gateModel{name: imdsName, parallel: 5, perSecond: 20})
	s.begins(0, "a")
	q := &request{ctx: t.Context(), gate: s.gate, began: s.at(700)}
	require.Equal(t, 200*time.Millisecond, s.gate.enter(s.at(700), q)[0].stall,
		"so much, and the first one would have been overdue")
}
