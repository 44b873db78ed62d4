package gate

import "time"

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func earlier(a, b *waiter) bool { return a.deadline.Before(b.deadline) }

// script drives a machine through one order of events.
type script struct {
	machine
	now  time.Time
	wake time.Time
	n    uint64
}

func newScript(c Config, jitter float64) *script {
	return &script{machine: newMachine(c, func() float64 { return jitter }), now: epoch}
}

// ticket makes one with a caller who waits for some minutes.
func (s *script) ticket() *Ticket {
	s.n++
	t := &Ticket{number: s.n, made: s.now, waiters: heap[*waiter]{less: earlier}}
	s.caller(t)
	return t
}

func (s *script) caller(t *Ticket) {
	t.waiters.push(&waiter{deadline: s.now.Add(Patience)})
	s.joined(s.now, t)
	s.look()
}

// enter has a ticket want a turn after a rest. It returns the turn if there is one at once.
func (s *script) enter(t *Ticket, rest time.Duration) *Turn {
	t.wake, t.turn, t.err = make(chan struct{}), nil, nil
	s.want(s.now, t, Rest{Until: s.now.Add(rest)})
	s.look()
	return t.turn
}

// crowd is so many tickets that want turns.
func (s *script) crowd(n int) []*Ticket {
	all := make([]*Ticket, n)
	for i := range all {
		all[i] = s.ticket()
		s.enter(all[i], 0)
	}
	return all
}

func (s *script) finish(t *Turn, o Outcome) {
	s.end(s.now, t, o)
	s.look()
}

// round ends all turns under way, and says how many they were.
func (s *script) round(o Outcome) int {
	all := append([]*Turn(nil), s.turns...)
	for _, t := range all {
		s.end(s.now, t, o)
	}
	s.look()
	return len(all)
}

func (s *script) look() { s.wake = s.step(s.now) }

// pass lets time go by, and has the machine look whenever it wants to.
func (s *script) pass(d time.Duration) {
	to := s.now.Add(d)
	for !s.wake.IsZero() && !s.wake.After(to) {
		s.now = s.wake
		s.look()
	}
	s.now = to
	s.look()
}

// until lets time go by until a ticket has its turn, and says how long it took; -1: it doesn't get it within an hour.
func (s *script) until(t *Ticket) time.Duration {
	from := s.now
	for t.turn == nil {
		if s.wake.IsZero() || s.wake.Sub(from) > time.Hour {
			return -1
		}
		s.now = s.wake
		s.look()
	}
	return s.now.Sub(from)
}
