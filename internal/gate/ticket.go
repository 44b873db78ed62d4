package gate

import (
	"context"
	"errors"
	"time"
)

// ErrAbandoned says that no caller waits for a ticket any more.
var ErrAbandoned = errors.New("nobody waits any more")

// Closed says that the endpoint asked for a pause, which ends after the ticket's user gives up.
type Closed struct{ Until time.Time }

func (Closed) Error() string { return "the endpoint asked for a pause" }

// Ticket stands for one token request, however many callers wait for it and however many tries it takes. Its fields are
// guarded by Gate.mu.
type Ticket struct {
	gate    *Gate
	number  uint64        // orders tickets with the same rank
	waiters heap[*waiter] // the waiting callers, by deadline
	made    time.Time
	keep    time.Time // until then it is wanted even without callers; zero: only with callers

	abandoned bool      // the last caller has left; nobody may join
	untried   bool      // a caller waits for whom there was no try
	onWire    int       // number of its turns under way
	tried     time.Time // when its last turn began
	began     time.Time // when the first of its turns under way began

	state ticketState
	index int       // place in the heap of its state, plus one
	rank  time.Time // the time that orders it among the others
	rest  time.Time // it wants no turn before, unless it is woken
	early bool      // a caller or the end of a pause ended its rest
	pace  time.Duration
	limit time.Time     // when its user gives up; zero: never
	wake  chan struct{} // closed when turn or err is set
	turn  *Turn
	err   error
}

type ticketState int

const (
	idle    ticketState = iota
	resting             // in machine.resting
	ready               // in machine.ready
)

func (t *Ticket) place() *int { return &t.index }

type waiter struct {
	deadline time.Time
	index    int
}

func (w *waiter) place() *int { return &w.index }

// Caller is someone who waits for a ticket.
type Caller struct {
	ticket *Ticket
	waiter waiter
}

// Patience is how long a caller without a deadline is assumed to wait.
const Patience = 3 * time.Minute

// Ticket returns a new ticket with its first caller, who must call Leave. The deadline is that of the caller, and zero
// means none.
func (g *Gate) Ticket(deadline time.Time) (*Ticket, *Caller) {
	t := &Ticket{gate: g, made: time.Now(),
		waiters: heap[*waiter]{less: func(a, b *waiter) bool { return a.deadline.Before(b.deadline) }}}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.numbers++
	t.number = g.numbers
	return t, t.join(deadline)
}

// Join adds a caller, who must call Leave. A zero deadline means none. Join returns nil if the ticket is abandoned.
func (t *Ticket) Join(deadline time.Time) *Caller {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	if t.abandoned {
		return nil
	}
	c := t.join(deadline)
	t.gate.settle()
	return c
}

func (t *Ticket) join(deadline time.Time) *Caller {
	now := time.Now()
	if deadline.IsZero() {
		deadline = now.Add(Patience)
	}
	c := &Caller{ticket: t, waiter: waiter{deadline: deadline}}
	t.waiters.push(&c.waiter)
	t.gate.machine.joined(now, t)
	return c
}

// Leave says that the caller no longer waits. It reports whether this was the last caller. Further calls have no
// effect.
func (c *Caller) Leave() (last bool) {
	t := c.ticket
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	if c.waiter.index == 0 {
		return false
	}
	t.waiters.remove(&c.waiter)
	t.gate.machine.left(time.Now(), t)
	t.gate.settle()
	return t.waiters.len() == 0
}

// Keep says that the ticket is wanted until a time, even without callers.
func (t *Ticket) Keep(until time.Time) {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	t.keep = until
	t.gate.machine.left(time.Now(), t) // its rank may change, and it may be wanted no more
	t.gate.settle()
}

// missed reports whether a caller waits for the ticket, or Keep still holds.
func (t *Ticket) missed(now time.Time) bool { return t.waiters.len() > 0 || now.Before(t.keep) }

// wanted reports whether the ticket may have another turn. After its first request, tries at an endpoint that is down
// go on without callers, so that the next caller need not wait. But only a ticket with callers may have a second
// request beside one that is under way.
func (t *Ticket) wanted(now time.Time) bool {
	return t.missed(now) || !t.tried.IsZero() && t.onWire == 0
}

// ranked returns the deadline that orders the ticket among the others.
func (t *Ticket) ranked(now time.Time) time.Time {
	rank := t.made.Add(Patience)
	if now.Before(t.keep) && t.keep.Before(rank) {
		rank = t.keep
	}
	if t.waiters.len() > 0 && t.waiters.items[0].deadline.Before(rank) {
		rank = t.waiters.items[0].deadline
	}
	return rank
}

// Rest is what a ticket's user wants before its next turn. The zero value means a turn as soon as possible.
type Rest struct {
	// Until is when the user wants the turn. It comes earlier at the end of a pause, at another ticket's success after
	// a failure, or with a new caller, but not earlier than Pace after the ticket's last turn.
	Until time.Time
	// Pace is the time between requests to a failing endpoint, from one beginning to the next. Zero means a second.
	Pace time.Duration
}

// Enter waits for the right to send a request, which Turn.End gives back. It fails with ctx's error, with ErrAbandoned,
// or with Closed if ctx's deadline is before the end of the pause. A ticket has one Enter at a time.
func (t *Ticket) Enter(ctx context.Context, r Rest) (*Turn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	g := t.gate
	g.mu.Lock()
	t.limit, _ = ctx.Deadline()
	wake := make(chan struct{})
	t.wake, t.turn, t.err = wake, nil, nil
	g.machine.want(time.Now(), t, r)
	g.settle()
	if g.machine.closed {
		g.ring() // OnWire may have changed
	}
	g.mu.Unlock()
	select {
	case <-wake:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.turn == nil && t.err == nil {
		t.err = ctx.Err()
		g.machine.withdraw(t)
		g.settle()
	}
	return t.turn, t.err
}

// Waiting says where a ticket stands.
type Waiting struct {
	OnWire time.Time // when the first of its requests under way was sent; zero: none is under way
	// Ahead is the number of tickets that are served before it; -1 means that it doesn't wait for a turn.
	Ahead int
	Cause Cause // why it has no turn
}

// Waiting returns where the ticket stands now.
func (t *Ticket) Waiting() Waiting {
	g := t.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	w := Waiting{Ahead: -1}
	if t.onWire > 0 {
		w.OnWire = t.began
	}
	if t.state == ready {
		w.Ahead = 0
		for _, other := range g.machine.ready.items {
			if g.machine.ready.less(other, t) {
				w.Ahead++
			}
		}
		_, w.Cause = g.machine.admit(time.Now(), t)
	}
	return w
}

// Untried reports whether a caller has come since the ticket's last request was sent.
func (t *Ticket) Untried() bool {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	return t.untried
}

// OnWire reports whether a request for the ticket is under way, or has ended so recently that its result is not yet
// known.
func (t *Ticket) OnWire() bool {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	return t.onWire > 0 || t.state == idle && !t.tried.IsZero()
}
