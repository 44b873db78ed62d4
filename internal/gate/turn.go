package gate

import (
	"time"
)

// Turn is the right to send one request. Its fields are guarded by Gate.mu, but for Evicted and Early.
type Turn struct {
	// Evicted is closed when the turn must be given up at once, for another request.
	Evicted chan struct{}
	// Early tells that the ticket was woken before the rest that it wanted was over, by a caller or by the end of a
	// pause.
	Early bool

	ticket    *Ticket
	began     time.Time
	lateAt    time.Time // when it counts as late
	late      bool      // it holds nobody up any more
	judged    bool      // it has been seen whether that makes the endpoint fail
	connected time.Time // zero: not seen to be
	closings  int       // before it
	evicted   bool
	ended     bool
}

// Kind is what came of a request.
type Kind int

const (
	Canceled  Kind = iota // it was given up, which says nothing about the endpoint
	Good                  // an answer that more requests may follow
	Failed                // no answer, or one that says that the endpoint has failed
	Throttled             // an answer that asks for a pause
)

// Outcome is what came of a turn.
type Outcome struct {
	Kind  Kind
	Pause time.Duration // that a Throttled one named; zero: none
	// Proves: what has come is the endpoint's own answer. Foreign: it is somebody else's.
	Proves, Foreign bool
	Status          int    // of an answer that is Foreign
	Silent          bool   // no answer came in time, nor anything else
	Failure         string // for those who wait; "": none
}

// begin hands out a turn.
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

// markLate has requests that take too long count no more. Where nothing has been heard for a second since one began,
// the endpoint fails.
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

// end gives a turn back. The second end of one is ignored.
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
		return // it says nothing about when the endpoint may be asked
	}
	switch current := t.closings == m.closings; {
	case o.Kind == Throttled:
		m.heard, m.answered = later(m.heard, t.began), now
		m.throttle(now, o.Pause, current)
	case o.Kind == Failed && o.Silent && m.answered.After(t.began):
		// others have been answered since, so it was lost
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
	k := t.ticket
	k.onWire--
	for _, other := range m.turns {
		if other.ticket == k {
			k.began = other.began
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

// throttle closes the gate. current: the request began after the last closing. Another one's answer says the same
// again, unless it names a pause and the gate is open.
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
	} else { // above what was asked for, so that those who were told the same don't come back together
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

// nextBackOff is decorrelated jitter: one to four seconds at first, then between one and a half times the last one
// and a second more than twice that.
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
