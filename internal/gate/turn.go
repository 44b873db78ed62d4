package gate

import (
	"time"
)

// Turn is the right to send one request. Gate.mu guards its fields, except Evicted and Early, which anyone may read.
type Turn struct {
	// Evicted is closed when another request needs the place. The user must then give the turn back at once.
	Evicted chan struct{}
	// Early says that a caller or the end of a pause ended the ticket's rest before its time.
	Early bool

	ticket    *Ticket
	began     time.Time
	lateAt    time.Time // when it becomes late
	late      bool      // it delays nobody any more
	judged    bool      // it is decided whether its lateness is a failure of the endpoint
	connected time.Time // zero: no connection seen
	closings  int       // number of pauses before it
	evicted   bool
	ended     bool
}

// Kind is the result of a request.
type Kind int

const (
	Canceled  Kind = iota // the request was canceled, which says nothing about the endpoint
	Good                  // an answer after which more requests may follow
	Failed                // no answer, or one that says that the endpoint failed
	Throttled             // an answer that asks for a pause
)

// Outcome is the result of a turn. The zero value says nothing about the endpoint.
type Outcome struct {
	Kind  Kind
	Pause time.Duration // the pause that a Throttled answer named; zero: none
	// Proves says that the answer is the endpoint's own. Foreign says that it is from something else.
	Proves, Foreign bool
	Status          int    // the status of a Foreign answer
	Silent          bool   // nothing came in time
	Failure         string // for waiting callers; "": none
}

// begin gives a ticket a turn.
func (m *machine) begin(now time.Time, t *Ticket) {
	early := t.early
	m.withdraw(t)
	t.untried = false
	if t.onWire == 0 {
		t.began = now
	}
	t.onWire++
	t.tried = now
	turn := &Turn{Evicted: make(chan struct{}), Early: early, ticket: t, began: now, closings: m.closings}
	turn.lateAt = now.Add(max(lateAfter, min(2*m.latency, maxPace)))
	if m.Near && !m.patient && !m.proven {
		turn.lateAt = now.Add(nearLate)
	}
	m.begun++
	if len(m.turns) == 0 {
		m.first, m.second = time.Time{}, time.Time{}
	}
	if m.patient {
		m.connect(now)
	}
	m.turns = append(m.turns, turn)
	m.last, m.spread = now, m.jitter()
	t.turn = turn
	close(t.wake)
}

// markLate marks requests that take too long, so that they no longer count. If nothing has been heard for a second
// since such a request began, the endpoint fails.
func (m *machine) markLate(now time.Time) {
	for _, t := range m.turns {
		t.late = t.late || !now.Before(t.lateAt)
		if at := later(t.lateAt, t.began.Add(lateAfter)); !t.judged && !now.Before(at) {
			t.judged = true
			if !m.answered.After(t.began) {
				m.fail()
			}
		}
	}
}

// end gives a turn back. Only the first call for a turn has an effect.
func (m *machine) end(now time.Time, t *Turn, o Outcome) {
	if t.ended {
		return
	}
	t.ended = true
	m.drop(now, t)
	m.presence.end(now, t, o)
	if o.Kind == Canceled {
		return
	}
	m.failure = o.Failure
	if o.Foreign {
		return // it says nothing about when the endpoint accepts requests
	}
	switch current := t.closings == m.closings; {
	case o.Kind == Throttled:
		m.heard, m.answered = later(m.heard, t.began), now
		m.throttle(now, o.Pause, current)
	case o.Kind == Failed && o.Silent && m.answered.After(t.began):
		// later requests were answered, so only this one was lost
	case o.Kind == Failed:
		if !t.late || m.failures == 0 {
			m.fail()
		}
	case o.Kind == Good:
		m.heard, m.answered = later(m.heard, t.began), now
		m.latency = max(now.Sub(t.began), m.latency/2)
		m.succeed(now, current)
	}
}

func (m *machine) drop(now time.Time, t *Turn) {
	for i, other := range m.turns {
		if other == t {
			m.turns = append(m.turns[:i], m.turns[i+1:]...)
			break
		}
	}
	if m.PerSecond > 0 {
		m.ended = append(m.ended, now)
	}
	ticket := t.ticket
	ticket.onWire--
	for _, other := range m.turns {
		if other.ticket == ticket {
			ticket.began = other.began
			break
		}
	}
}

func (m *machine) fail() {
	m.failures++
	m.window, m.good = 1, 0
}

func (m *machine) succeed(now time.Time, current bool) {
	if m.failures > 0 {
		m.failures, m.recovered = 0, now
		m.wakeAll(now, false)
	}
	if !current {
		return
	}
	m.backOff = 0
	if m.good++; m.window < m.steady || m.good >= m.window {
		m.window++
		m.good = 0
	}
}

// throttle closes the gate. current means that the request began after the last closing. The answer to an older request
// repeats what is known, unless it names a pause.
func (m *machine) throttle(now time.Time, pause time.Duration, current bool) {
	if !current && pause == 0 {
		return
	}
	m.failures = 0
	if current || !now.Before(m.opens) {
		m.closings++
		m.steady = max(leastSteady, min(m.steady, m.window/2))
		m.window, m.good = 1, 0
	}
	if pause == 0 {
		m.backOff = m.nextBackOff()
		pause = m.backOff
	} else { // longer than asked for, so that callers with the same answer don't come back together
		pause += time.Duration(m.jitter() * 0.3 * float64(min(pause, 10*time.Second)))
	}
	if opens := now.Add(pause); !m.closed || opens.After(m.opens) {
		m.opens, m.closed = opens, true
	}
	for _, waiting := range [][]*Ticket{m.ready.items, m.resting.items} {
		for _, t := range append([]*Ticket(nil), waiting...) {
			if m.outlasts(t) {
				m.deny(t, Closed{m.opens})
			}
		}
	}
}

// nextBackOff returns the next pause by decorrelated jitter. The first pause is one to four seconds. A later one is
// between one and a half times the last pause and a second more than twice the last one, and at most maxBackOff.
func (m *machine) nextBackOff() time.Duration {
	least, most := time.Second, 4*time.Second
	if m.backOff > 0 {
		least, most = min(maxBackOff/2, m.backOff*3/2), min(maxBackOff, 2*m.backOff+time.Second)
	}
	return least + time.Duration(m.jitter()*float64(most-least))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
