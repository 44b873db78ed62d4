package gate

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// Gate admits requests to one endpoint. It needs no closing, and has no goroutine while idle.
type Gate struct {
	mu      sync.Mutex
	machine machine // guarded by mu, as are all fields below
	numbers uint64  // number of tickets so far
	timer   *time.Timer
	at      time.Time     // when timer fires; zero: there is no timer
	timers  int           // number of timers so far, to recognize one that fires too late
	news    chan struct{} // closed at the next change, see Watch
}

// New returns the gate of an endpoint. The zero Config means no limits.
func New(c Config) *Gate { return &Gate{machine: newMachine(c, rand.Float64)} }

// Format prints only the name of the type, whatever the verb. The rest changes while the gate is in use.
func (g *Gate) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "Gate") }

// settle gives out the turns that are possible now, and sets the timer for its next call. The caller holds mu.
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

// Status is what a gate knows about its endpoint.
type Status struct {
	Opens   time.Time // the end of the pause that the endpoint asked for; zero: no pause
	Proven  bool      // the endpoint has answered as the expected one
	Shown   bool      // the transport shows when it has a connection
	Failure string    // the last failure; "" after a good answer
	Users   int       // requests under way, and tickets that want a turn
	Absence *Absence  // says that the endpoint is absent; nil: nothing shows this
	Look    time.Time // when Absence may change without an event; zero: never
}

// Status returns what the gate knows now.
func (g *Gate) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.status(time.Now())
}

func (g *Gate) status(now time.Time) Status {
	m := &g.machine
	s := Status{Proven: m.proven, Shown: !m.patient, Failure: m.failure,
		Users: len(m.turns) + m.ready.len() + m.resting.len()}
	if m.closed && now.Before(m.opens) {
		s.Opens = m.opens
	}
	s.Absence, s.Look = m.absence(now)
	return s
}

// Watch returns the current Status, and a channel that is closed at its next change that concerns waiting callers: the
// endpoint asks for a pause, is proven or is found absent, or a request ends during a pause.
func (g *Gate) Watch() (<-chan struct{}, Status) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.news == nil {
		g.news = make(chan struct{})
	}
	return g.news, g.status(time.Now())
}

// ring wakes the callers of Watch. The caller holds mu.
func (g *Gate) ring() {
	if g.news != nil {
		close(g.news)
		g.news = nil
	}
}

// ShowConnections says whether the endpoint's transport shows when it has a connection. Without a call, it does.
func (g *Gate) ShowConnections(shown bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.machine.patient = !shown
}

// Connected says that the turn's request has a connection.
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

// End gives the turn back with its outcome. Only the first call has an effect. If it begins or extends a pause, it
// returns the end of the pause, else zero.
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
