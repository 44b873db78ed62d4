package gate

import (
	"fmt"
	"slices"
	"time"
)

// kind is what may happen to a machine.
type kind uint8

const (
	arrives   kind = iota // a ticket with its first caller wants a turn
	again                 // a ticket wants another turn at once, whether or not one is under way
	rests                 // a ticket wants another turn after a rest
	joins                 // a further caller comes to a ticket
	leaves                // the caller with the earliest deadline leaves
	goes                  // the caller with the latest deadline leaves
	good                  // a turn ends with a token
	failed                // with a 500, at its limit or by a panic
	throttled             // with a 429 that names no pause
	paused                // with a 429 that names one
	canceled              // without a word
	ticks                 // the clock goes to the time that step returned
	passes                // the clock goes on by a second
)

// event is one of them. n is a ticket, or the place of a turn among those under way.
type event struct {
	kind kind
	n    uint8
}

const (
	restTime  = 8 * time.Second
	pauseTime = 2 * time.Second
	giveUp    = 2 * time.Second // the limit of every second ticket
)

// made is when all tickets were made, so that those for which nobody waits come after all others.
var made = epoch.Add(2 * time.Hour)

var outcomes = map[kind]Outcome{
	good: {Kind: Good}, failed: {Kind: Failed}, canceled: {Kind: Canceled},
	throttled: {Kind: Throttled}, paused: {Kind: Throttled, Pause: pauseTime},
}

// deadline is that of a ticket's first caller, or of a further one: some of these come before all others.
func deadline(ticket int, further bool) time.Time {
	order := []int{5, 4, 6, 3}[ticket]
	if further {
		order = []int{1, 7, 8, 2}[ticket]
	}
	return epoch.Add(time.Hour + time.Duration(order)*time.Minute)
}

// world is a machine, those who use it and what they have seen of it.
type world struct {
	m       machine
	now     time.Time
	wake    time.Time
	tickets [4]*Ticket
	size    int // tickets that may come
	held    []held
	seen    seen
	fault   string // the promise that was broken
}

// held is a turn under way.
type held struct {
	*Turn
	closings int  // before it
	late     bool // as seen from outside
	gone     bool // its eviction was seen
}

func newWorld(c Config, size int) *world {
	return &world{m: newMachine(c, func() float64 { return 0.5 }), now: epoch, size: size}
}

// events lists what may happen now.
func (w *world) events() (all []event) {
	for i, t := range w.tickets[:w.size] {
		n := uint8(i)
		if t == nil {
			all = append(all, event{arrives, n})
			continue
		}
		callers := t.waiters.len()
		if t.state == idle && callers > 0 && t.onWire < 2 {
			all = append(all, event{again, n}, event{rests, n})
		}
		if callers < 2 {
			all = append(all, event{joins, n})
		}
		if callers > 0 {
			all = append(all, event{leaves, n})
		}
		if callers > 1 {
			all = append(all, event{goes, n})
		}
	}
	for i, t := range w.held {
		n := uint8(i)
		all = append(all, event{good, n}, event{canceled, n})
		if !t.evicted {
			all = append(all, event{failed, n}, event{throttled, n}, event{paused, n})
		}
	}
	if !w.wake.IsZero() {
		all = append(all, event{kind: ticks})
	}
	return append(all, event{kind: passes})
}

// apply lets an event happen, and looks at what comes of it. A panic of the machine is a fault.
func (w *world) apply(e event) {
	defer func() {
		if p := recover(); p != nil {
			w.fault = fmt.Sprint("panic: ", p)
		}
	}()
	switch n := int(e.n); e.kind {
	case arrives:
		w.tickets[n] = &Ticket{number: uint64(n + 1), made: made, waiters: heap[*waiter]{less: earlier}}
		w.join(n, false)
		w.want(n, 0)
	case again:
		w.want(n, 0)
	case rests:
		w.want(n, restTime)
	case joins:
		w.join(n, true)
	case leaves, goes:
		t := w.tickets[n]
		w.leave(t, t.waiters.items[int(e.kind-leaves)])
	case ticks:
		w.pass(w.wake)
	case passes:
		w.pass(w.now.Add(time.Second))
	default:
		w.end(n, outcomes[e.kind])
	}
	w.settle()
}

func (w *world) join(n int, further bool) {
	t := w.tickets[n]
	at := deadline(n, further)
	if further && t.waiters.len() > 0 && t.waiters.items[0].deadline.Equal(at) {
		at = deadline(n, false)
	}
	t.waiters.push(&waiter{deadline: at})
	w.m.joined(w.now, t)
	w.seen.came[n], w.seen.woken[n] = true, true
}

func (w *world) leave(t *Ticket, who *waiter) {
	t.waiters.remove(who)
	w.m.left(w.now, t)
}

// over: all callers of a ticket leave, with a token or without, and what stands for them wants no further turn.
func (w *world) over(t *Ticket) {
	for t.waiters.len() > 0 {
		w.leave(t, t.waiters.items[0])
	}
	w.m.withdraw(t)
}

func (w *world) want(n int, rest time.Duration) {
	t := w.tickets[n]
	t.wake, t.turn, t.err, t.limit = make(chan struct{}), nil, nil, time.Time{}
	if n%2 == 1 {
		t.limit = w.now.Add(giveUp)
	}
	w.seen.rested[n] = rest > 0
	w.seen.woken[n] = w.seen.came[n] && !t.tried.IsZero()
	w.m.want(w.now, t, Rest{Until: w.now.Add(rest)})
}

// pass moves the clock. Whose limit is over goes.
func (w *world) pass(to time.Time) {
	w.now = to
	for _, t := range w.tickets {
		if t != nil && t.state != idle && !t.limit.IsZero() && !to.Before(t.limit) {
			w.m.withdraw(t)
			w.over(t)
		}
	}
}

func (w *world) end(n int, o Outcome) {
	h := w.held[n]
	w.held = slices.Delete(w.held, n, n+1)
	w.seen.end(w, h, o)
	w.m.end(w.now, h.Turn, o)
	if o.Kind == Good {
		w.over(h.ticket)
	}
}

// clone copies a world, with every ticket, caller and turn.
func (w *world) clone() *world {
	c := *w
	for i, t := range w.tickets {
		if t == nil {
			continue
		}
		u := *t
		u.waiters.items = make([]*waiter, len(t.waiters.items))
		for j, who := range t.waiters.items {
			copied := *who
			u.waiters.items[j] = &copied
		}
		if u.state != idle {
			u.wake = make(chan struct{})
		}
		c.tickets[i] = &u
	}
	c.held = slices.Clone(w.held)
	c.m.turns = make([]*Turn, len(w.held))
	for i, h := range w.held {
		u := *h.Turn
		if u.ticket = c.tickets[u.ticket.number-1]; !u.evicted {
			u.Evicted = make(chan struct{})
		}
		c.held[i].Turn, c.m.turns[i] = &u, &u
	}
	c.m.ready.items, c.m.resting.items = c.own(w.m.ready.items), c.own(w.m.resting.items)
	c.m.ended, c.seen.ended = slices.Clone(w.m.ended), slices.Clone(w.seen.ended)
	return &c
}

func (w *world) own(tickets []*Ticket) []*Ticket {
	all := make([]*Ticket, len(tickets))
	for i, t := range tickets {
		all[i] = w.tickets[t.number-1]
	}
	return all
}

// name says what an event is in the world in which it happens.
func (w *world) name(e event) string {
	ticket := func(n uint64) string { return string(rune('A' + n)) }
	switch e.kind {
	case ticks:
		return fmt.Sprintf("+%v (the next look)", w.wake.Sub(w.now))
	case passes:
		return "+1s"
	case good, failed, throttled, paused, canceled:
		how := map[kind]string{
			good: "good", failed: "failed", throttled: "429", paused: "429 with 2s", canceled: "canceled",
		}
		return fmt.Sprintf("%s's try: %s", ticket(w.held[e.n].ticket.number-1), how[e.kind])
	}
	what := map[kind]string{
		arrives: "comes", again: "wants another turn", rests: "rests for 8s",
		joins: "has a further caller", leaves: "loses its earliest caller", goes: "loses its latest caller",
	}
	return ticket(uint64(e.n)) + " " + what[e.kind]
}
