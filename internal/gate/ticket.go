package gate

import (
	"context"
	"errors"
	"time"
)

// ErrAbandoned says that nobody waits any more for what a ticket stands for.
var ErrAbandoned = errors.New("nobody waits any more")

// Closed says that the endpoint asked for a pause that outlasts what would have waited for its end.
type Closed struct{ Until time.Time }

func (Closed) Error() string { return "the endpoint asked for a pause" }

// Ticket stands for one request for a token, whatever number of callers wait for it and of tries it takes. Its fields
// are guarded by Gate.mu.
type Ticket struct {
	gate    *Gate
	number  uint64        // tells the order of tickets with the same rank
	waiters heap[*waiter] // the callers who wait, by deadline
	made    time.Time
	keep    time.Time // it is wanted until then though nobody waits; zero: only while somebody does

	abandoned bool      // the last who wanted it has left; nobody may join it
	untried   bool      // a caller waits for whom no try has been made
	onWire    int       // turns
	tried     time.Time // when its last turn began
	began     time.Time // when the turn under way that began first did

	state ticketState
	index int       // in the heap of its state, plus one
	rank  time.Time // of its turn among the others
	rest  time.Time // it doesn't want a turn before, unless it is woken
	early bool      // it was woken before the end of its rest, by a caller or the end of a pause
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

// Caller is somebody who waits for what a ticket stands for.
type Caller struct {
	ticket *Ticket
	waiter waiter
}

// Patience is how long a caller without a deadline is taken to wait.
const Patience = 3 * time.Minute

// Ticket makes a ticket, and its first caller. The deadline is the caller's; zero means none.
func (g *Gate) Ticket(deadline time.Time) (*Ticket, *Caller) {
	t := &Ticket{gate: g, made: time.Now(), waiters: heap[*waiter]{less: func(a, b *waiter) bool { return a.deadline.Before(b.deadline) }}}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.numbers++
	t.number = g.numbers
	return t, t.join(deadline)
}

// Join adds a caller, who must call Leave. It returns nil where the ticket has been abandoned.
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

// Leave says that the caller waits no more, and tells whether it was the last. It may be called again.
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

// Keep says that what the ticket stands for is wanted until a time, whether or not anybody waits.
func (t *Ticket) Keep(until time.Time) {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	t.keep = until
	t.gate.machine.left(time.Now(), t) // its rank may be another, and nobody may want it any more
	t.gate.settle()
}

// missed tells whether anybody would miss it now.
func (t *Ticket) missed(now time.Time) bool { return t.waiters.len() > 0 || now.Before(t.keep) }

// wanted tells whether it may have another turn. Once a request was sent for it, what that has found to be down is
// tried on, so that the next caller need not wait; but a second request beside one that is under way is for those who
// wait.
func (t *Ticket) wanted(now time.Time) bool {
	return t.missed(now) || !t.tried.IsZero() && t.onWire == 0
}

// ranked is the deadline that decides its turn.
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

// Rest is what a ticket's user wants before its next turn. The zero value: a turn as soon as possible.
type Rest struct {
	// Until is when it wants the turn, unless it is woken: by the end of a pause, by another's success after a
	// failure, or by a caller who comes, but a second after its last turn at the earliest.
	Until time.Time
	// Pace is how long after the last request to a failing endpoint the next one may begin. Zero means a second.
	Pace time.Duration
}

// Enter waits for the right to send a request, which Turn.End gives back. It fails with ctx's error, with
// ErrAbandoned, or with Closed where ctx ends before the pause does. A ticket is in one Enter at a time.
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
		g.ring() // it is on the wire no more
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

// Where a ticket stands.
type Waiting struct {
	OnWire time.Time // when the first of its requests that are under way was sent; zero: none is
	// Ahead is how many are served before it; -1: it doesn't wait for a turn.
	Ahead int
	Cause Cause // why it has no turn
}

// Waiting tells where the ticket stands.
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

// Untried tells whether a caller has come since its last request was sent.
func (t *Ticket) Untried() bool {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	return t.untried
}

// OnWire tells whether a request is under way for it, or has ended and it isn't known yet what follows.
func (t *Ticket) OnWire() bool {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	return t.onWire > 0 || t.state == idle && !t.tried.IsZero()
}
