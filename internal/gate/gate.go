package gate

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// Gate is one endpoint's. It needs no closing, and has no goroutine at rest.
type Gate struct {
	mu      sync.Mutex
	machine machine // guarded by mu, as is the rest
	numbers uint64  // of tickets
	timer   *time.Timer
	at      time.Time     // when the timer fires; zero: there is none
	timers  int           // so far, to tell a timer that fires too late
	news    chan struct{} // see Watch
}

// New makes the gate of an endpoint.
func New(c Config) *Gate { return &Gate{machine: newMachine(c, rand.Float64)} }

// Format prints the type alone, with every verb: the rest changes while the gate is in use.
func (g *Gate) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "Gate") }

// settle hands out the turns that may be taken, and sees to it that it is called again in time. The caller holds mu.
func (g *Gate) settle() {
	begun := g.machine.begun
	wake := g.machine.step(time.Now())
	if g.machine.begun > begun && !g.machine.proven {
		g.ring()
	}
	if wake.Equal(g.at) {
		return
	}
	if g.timer != nil {
		g.timer.Stop()
	}
	g.timers++
	if g.at = wake; wake.IsZero() {
		g.timer = nil
		return
	}
	number := g.timers
	g.timer = time.AfterFunc(time.Until(wake), func() { g.tick(number) })
}

func (g *Gate) tick(number int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timers == number {
		g.timer, g.at = nil, time.Time{}
		g.settle()
	}
}

// Status is what is known of an endpoint.
type Status struct {
	Opens   time.Time // the end of the pause that it asked for; zero: it is open
	Proven  bool      // it has answered as what it is taken for
	Shown   bool      // its transport shows when it has connected
	Failure string    // its last; "" after a good answer
	Users   int       // requests under way, and tickets that want a turn
	Absence *Absence  // the verdict that it is not there; nil: none
	Look    time.Time // when Absence may change without an event; zero: never
}

// Status looks at the endpoint.
func (g *Gate) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.status(time.Now())
}

func (g *Gate) status(now time.Time) Status {
	m := &g.machine
	s := Status{Proven: m.proven, Shown: !m.patient, Failure: m.failure, Users: len(m.turns) + m.ready.len() + m.resting.len()}
	if m.closed && now.Before(m.opens) {
		s.Opens = m.opens
	}
	s.Absence, s.Look = m.absence(now)
	return s
}

// Watch returns a channel that is closed when Status has changed for those who wait: the endpoint asked for a pause,
// was proven or is found to be absent, or a request ended in a pause. Status is that of before.
func (g *Gate) Watch() (<-chan struct{}, Status) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.news == nil {
		g.news = make(chan struct{})
	}
	return g.news, g.status(time.Now())
}

// ring wakes those who watch. The caller holds mu.
func (g *Gate) ring() {
	if g.news != nil {
		close(g.news)
		g.news = nil
	}
}

// ShowConnections says whether the endpoint's transport shows when it has connected. A gate takes it for granted.
func (g *Gate) ShowConnections(shown bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.machine.patient = !shown
}

// Connected says that the turn's request has its connection.
func (t *Turn) Connected() {
	g := t.ticket.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	m := &g.machine
	t.connected = time.Now()
	m.connect(t.connected)
	if !t.late {
		t.lateAt = t.began.Add(max(lateAfter, t.lateAt.Sub(t.began)))
	}
	if !m.proven {
		g.ring()
	}
}

// End gives the turn back, and says what came of it. Ends after the first are ignored. closed is the end of the pause
// where this one has begun or prolonged it, else zero.
func (t *Turn) End(o Outcome) (closed time.Time) {
	g := t.ticket.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	m := &g.machine
	now, before := time.Now(), m.opens
	proven := m.proven
	m.end(now, t, o)
	if m.opens.After(before) {
		closed = m.opens
	}
	if !proven || now.Before(m.opens) {
		g.ring()
	}
	g.settle()
	return closed
}
