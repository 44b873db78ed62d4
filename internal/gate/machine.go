package gate

import (
	"slices"
	"time"
)

const (
	maxBackOff  = 5 * time.Second // the longest pause after a 429 that names none
	pace        = time.Second     // time between requests to a failing endpoint, for callers that have just come
	maxPace     = 5 * time.Second // the same, for callers for whom there was a try
	lateAfter   = time.Second     // after this time without an answer, a request delays nobody
	nearLate    = time.Second / 2 // the same without a connection, if the endpoint is near
	evictAfter  = 3 * time.Second // after this time, a request gives its place to another if all are taken
	steadyAfter = 32              // from this number of requests at once, it grows by one each round
	leastSteady = 8               // the least such number after a pause
)

// Config has the limits of an endpoint. Zero means no limit.
type Config struct {
	Parallel  int  // requests under way at once
	PerSecond int  // requests that begin in any second
	Near      bool // if it exists, a connection takes less than half a second
}

// machine has the rules. Its methods are the events. After each event, step says who may send and when to look again.
type machine struct {
	Config
	jitter func() float64 // in [0, 1)

	opens    time.Time     // nobody sends before
	closed   bool          // the end of the pause has not been seen
	closings int           // number of pauses so far, to recognize answers to requests from before the last one
	backOff  time.Duration // the last pause that the endpoint asked for without naming a time

	window int // limit of requests at once, without late ones
	steady int // the window size from which it grows slowly
	good   int // good answers since the window last grew slowly

	failures  int       // failures in a row, without an answer in between
	recovered time.Time // when an answer last followed failures
	untried   int       // tickets that want a turn and have a caller for whom there was no try
	last      time.Time // when the last request began
	spread    float64   // random part of the time after it, from 0 to 1
	answered  time.Time // when the last answer came
	heard     time.Time // when the latest request that was answered began
	latency   time.Duration
	failure   string // the last failure, for callers that leave without a token; "" after a good answer

	turns   []*Turn     // under way, in the order in which they began
	begun   int         // number of turns so far
	ended   []time.Time // ends of requests within the last second
	ready   heap[*Ticket]
	resting heap[*Ticket]

	presence
}

func newMachine(c Config, jitter func() float64) machine {
	m := machine{Config: c, jitter: jitter, window: 1, steady: steadyAfter}
	m.ready.less = func(a, b *Ticket) bool {
		return a.rank.Before(b.rank) || a.rank.Equal(b.rank) && a.number < b.number
	}
	m.resting.less = func(a, b *Ticket) bool {
		return a.rest.Before(b.rest) || a.rest.Equal(b.rest) && a.number < b.number
	}
	return m
}

// joined handles a caller that comes to a ticket. The ticket may not want a turn yet.
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

// left handles a caller that leaves a ticket.
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

// want handles a ticket that wants a turn.
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
		if t.untried && !t.tried.IsZero() { // a caller has come since its last turn began
			t.early = m.hasten(t, now) || t.early
		}
		if m.recovered.After(t.tried) { // another ticket has succeeded since its last turn
			m.hasten(t, now)
		}
	} else {
		m.enqueue(now, t)
	}
}

// outlasts reports whether the pause ends after the ticket's user gives up.
func (m *machine) outlasts(t *Ticket) bool {
	return m.closed && !t.limit.IsZero() && m.opens.After(t.limit)
}

func (m *machine) enqueue(now time.Time, t *Ticket) {
	t.state, t.rank = ready, t.ranked(now)
	m.ready.push(t)
}

// withdraw handles a ticket that no longer wants a turn.
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

// abandon frees the place of a ticket that no caller wants. A request that is under way for it may still succeed.
func (m *machine) abandon(t *Ticket) {
	t.abandoned = t.onWire == 0
	m.deny(t, ErrAbandoned)
}

func (m *machine) deny(t *Ticket, err error) {
	m.withdraw(t)
	t.err = err
	close(t.wake)
}

// hasten ends a ticket's rest, but not earlier than its pace after its last turn. It reports whether the rest is now
// shorter.
func (m *machine) hasten(t *Ticket, now time.Time) bool {
	at := later(t.tried.Add(t.pace), now)
	if !at.Before(t.rest) {
		return false
	}
	t.rest = at
	m.resting.fix(t)
	return true
}

// wakeAll ends all rests. early marks this as earlier than planned.
func (m *machine) wakeAll(now time.Time, early bool) {
	for _, t := range slices.Clone(m.resting.items) {
		t.early = m.hasten(t, now) && early || t.early
	}
}

// step gives out the turns that are possible now. It must be called after each event and at the time that it returns.
// Zero means at the next event.
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

// earliest returns the earlier of two times. Zero means no time.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
