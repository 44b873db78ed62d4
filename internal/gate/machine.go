package gate

import (
	"slices"
	"time"
)

const (
	maxBackOff  = 5 * time.Second // the longest pause after a 429 that names none
	pace        = time.Second     // between requests to a failing endpoint for those who have just come
	maxPace     = 5 * time.Second // and for those who have been tried for
	lateAfter   = time.Second     // a request without an answer for so long holds nobody up
	nearLate    = time.Second / 2 // likewise without a connection, where the endpoint is near
	evictAfter  = 3 * time.Second // and gives its place to another where there is no other
	steadyAfter = 32              // requests at once from which they grow by one a round
	leastSteady = 8               // that number after a pause, at the least
)

// Config is what is known of an endpoint beforehand. Zero means no limit.
type Config struct {
	Parallel  int  // requests under way
	PerSecond int  // requests that begin in any second
	Near      bool // a connection to it takes no half second, or it isn't there
}

// machine is the rules. Its methods are the events; after each, step says who may send and when to look again.
type machine struct {
	Config
	jitter func() float64 // in [0, 1)

	opens    time.Time     // nobody sends before
	closed   bool          // the pause has not been seen to end
	closings int           // in all, to tell answers to requests from before the last one
	backOff  time.Duration // the last pause that the endpoint did not name

	window int // requests at once, without those that are late
	steady int // the window from which it grows slowly
	good   int // answers since it last grew, then

	failures  int       // in a row, without an answer in between
	recovered time.Time // when an answer last followed failures
	untried   int       // tickets that want a turn and have a caller for whom no try has been made
	last      time.Time // when the last request began
	spread    float64   // of the time after it
	answered  time.Time // when the last answer came
	heard     time.Time // when the last request began that was answered
	latency   time.Duration
	failure   string // the last, for those who leave without a result; "" after a good answer

	turns   []*Turn     // under way, in the order of their beginnings
	begun   int         // turns, so far
	ended   []time.Time // of requests that ended within the last second
	ready   heap[*Ticket]
	resting heap[*Ticket]

	presence
}

func newMachine(c Config, jitter func() float64) machine {
	m := machine{Config: c, jitter: jitter, window: 1, steady: steadyAfter}
	m.ready.less = func(a, b *Ticket) bool { return a.rank.Before(b.rank) || a.rank.Equal(b.rank) && a.number < b.number }
	m.resting.less = func(a, b *Ticket) bool { return a.rest.Before(b.rest) || a.rest.Equal(b.rest) && a.number < b.number }
	return m
}

// joined: a caller has come to a ticket, which may not have wanted a turn yet.
func (m *machine) joined(now time.Time, t *Ticket) {
	if !t.untried && t.state != idle {
		m.untried++
	}
	t.untried = true
	switch t.state {
	case resting:
		t.early = m.hasten(t, now) || t.early
	case ready:
		t.rank = t.ranked(now)
		m.ready.fix(t)
	}
}

// left: a caller has left a ticket.
func (m *machine) left(now time.Time, t *Ticket) {
	switch {
	case t.state == idle:
	case !t.wanted(now):
		m.abandon(t)
	case t.state == ready:
		t.rank = t.ranked(now)
		m.ready.fix(t)
	}
}

// want: a ticket wants a turn.
func (m *machine) want(now time.Time, t *Ticket, r Rest) {
	switch {
	case !t.wanted(now):
		m.abandon(t)
		return
	case m.outlasts(t):
		m.deny(t, Closed{m.opens})
		return
	}
	t.pace, t.early, t.rest = r.Pace, false, r.Until
	if t.pace == 0 {
		t.pace = pace
	}
	if t.untried {
		m.untried++
	}
	if now.Before(t.rest) {
		t.state = resting
		m.resting.push(t)
		if t.untried && !t.tried.IsZero() { // a caller has come since the last turn began
			t.early = m.hasten(t, now) || t.early
		}
		if m.recovered.After(t.tried) { // another has succeeded since
			m.hasten(t, now)
		}
	} else {
		m.enqueue(now, t)
	}
}

// outlasts tells whether a ticket's user gives up before the pause ends.
func (m *machine) outlasts(t *Ticket) bool {
	return m.closed && !t.limit.IsZero() && m.opens.After(t.limit)
}

func (m *machine) enqueue(now time.Time, t *Ticket) {
	t.state, t.rank = ready, t.ranked(now)
	m.ready.push(t)
}

// withdraw: a ticket wants no turn any more.
func (m *machine) withdraw(t *Ticket) {
	switch t.state {
	case idle:
		return
	case resting:
		m.resting.remove(t)
	case ready:
		m.ready.remove(t)
	}
	t.state = idle
	if t.untried {
		m.untried--
	}
}

// abandon frees the place of a ticket that nobody wants. What is under way for it may still bring something.
func (m *machine) abandon(t *Ticket) {
	t.abandoned = t.onWire == 0
	m.deny(t, ErrAbandoned)
}

func (m *machine) deny(t *Ticket, err error) {
	m.withdraw(t)
	t.err = err
	close(t.wake)
}

// hasten ends a ticket's rest, but a second after its last turn at the earliest. It tells whether the rest is shorter
// now.
func (m *machine) hasten(t *Ticket, now time.Time) bool {
	at := later(t.tried.Add(t.pace), now)
	if !at.Before(t.rest) {
		return false
	}
	t.rest = at
	m.resting.fix(t)
	return true
}

// wakeAll ends all rests. early: it doesn't count as the end that was planned.
func (m *machine) wakeAll(now time.Time, early bool) {
	for _, t := range slices.Clone(m.resting.items) {
		t.early = m.hasten(t, now) && early || t.early
	}
}

// step is to be called after each event and at the time that it returns (zero: at the next event). It hands out the
// turns that may be taken now.
func (m *machine) step(now time.Time) (wake time.Time) {
	if m.closed && !now.Before(m.opens) {
		m.closed = false
		m.wakeAll(now, true)
	}
	m.markLate(now)
	for m.resting.len() > 0 && !now.Before(m.resting.items[0].rest) {
		t := m.resting.items[0]
		m.resting.remove(t)
		m.enqueue(now, t)
	}
	for m.ready.len() > 0 {
		t := m.ready.items[0]
		if !t.wanted(now) {
			m.abandon(t)
			continue
		}
		until, cause := m.admit(now, t)
		if cause == Crowded {
			until = m.evict(now)
		}
		if cause != Free {
			wake = earliest(wake, until)
			break
		}
		m.begin(now, t)
	}
	if m.closed {
		wake = earliest(wake, m.opens)
	}
	if m.resting.len() > 0 {
		wake = earliest(wake, m.resting.items[0].rest)
	}
	for _, t := range m.turns {
		if !t.judged && m.ready.len()+m.resting.len() > 0 {
			at := t.lateAt
			if t.late {
				at = t.began.Add(lateAfter)
			}
			wake = earliest(wake, at)
		}
	}
	return wake
}

// earliest returns the earlier of two times, of which zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
