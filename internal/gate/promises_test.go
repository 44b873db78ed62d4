package gate

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// seen is what the users of a machine have seen of it, from which they tell whether it keeps its promises.
type seen struct {
	opens    time.Time // nobody may begin before
	latest   time.Time // by which the pause must be over
	closings int
	goods    int         // good answers to requests that began after the last closing
	failing  bool        // nothing was heard since a failure
	failed   bool        // no good answer came since a failure
	answered time.Time   // when the last answer came
	heard    time.Time   // when the last request began that was answered
	last     time.Time   // when the last turn began
	ended    []time.Time // turns, in the last second
	came     [4]bool     // a caller has come to the ticket since its last turn began
	woken    [4]bool     // the ticket's rest is over a second after its last turn
	rested   [4]bool     // the ticket has wanted to rest since then
	tried    [4]time.Time
}

func (s *seen) end(w *world, h held, o Outcome) {
	s.ended = append(s.ended, w.now)
	current := h.closings == s.closings
	if o.Kind == Good || o.Kind == Throttled {
		s.heard = later(s.heard, h.began)
	}
	switch o.Kind {
	case Failed:
		s.failing, s.failed = true, true
	case Good:
		s.failing, s.answered = false, w.now
		if current {
			s.goods++
		}
		if s.failed {
			s.failed = false
			s.wake(w)
		}
	case Throttled:
		s.answered = w.now
		s.throttled(w.now, o.Pause, current)
	}
}

// throttled: an answer to a request from before the last closing, without a pause of its own, says nothing new.
func (s *seen) throttled(now time.Time, pause time.Duration, current bool) {
	if !current && pause == 0 {
		return
	}
	s.failing, s.failed = false, false
	least, most := now.Add(pause), now.Add(pause*13/10)
	if pause == 0 {
		least, most = now.Add(time.Second), now.Add(maxBackOff)
	}
	if current || !now.Before(s.opens) {
		s.closings++
		s.goods = 0
	}
	s.opens, s.latest = later(s.opens, least), later(s.latest, most)
}

// wake: all who rest now are woken.
func (s *seen) wake(w *world) {
	for i, t := range w.tickets {
		s.woken[i] = s.woken[i] || t != nil && t.state == resting
	}
}

// settle has the machine make its step, and looks at what it has done.
func (w *world) settle() {
	w.seen.ended = slices.DeleteFunc(w.seen.ended, func(t time.Time) bool { return !w.now.Before(t.Add(time.Second)) })
	if w.m.closed && !w.now.Before(w.m.opens) {
		w.seen.wake(w)
	}
	for i, h := range w.held {
		if !h.late && !w.now.Before(h.lateAt) {
			w.held[i].late = true
			if !w.seen.answered.After(h.began) {
				w.seen.failing, w.seen.failed = true, true
			}
		}
	}
	w.wake = w.m.step(w.now)
	for _, t := range w.m.turns {
		if !slices.ContainsFunc(w.held, func(h held) bool { return h.Turn == t }) {
			w.begun(t)
		}
	}
	w.evictions()
	for i, t := range w.tickets {
		if t != nil {
			w.told(i, t)
		}
	}
	w.check()
}

func (w *world) broken(format string, args ...any) {
	if w.fault == "" {
		w.fault = fmt.Sprintf(format, args...)
	}
}

// begun looks at a turn that was handed out.
func (w *world) begun(t *Turn) {
	s, active := &w.seen, 0
	for _, h := range w.held {
		if !h.late {
			active++
		}
	}
	n := t.ticket.number - 1
	if t.ticket.waiters.len() == 0 && (s.tried[n].IsZero() || t.ticket.onWire > 1) {
		w.broken("a turn for nobody")
	}
	for _, other := range w.m.ready.items {
		if due(other).Before(due(t.ticket)) {
			w.broken("a turn out of order")
		}
	}
	switch {
	case w.now.Before(s.opens):
		w.broken("a turn in a pause")
	case active > s.goods:
		w.broken("%d turns at once after %d good answers", active+1, s.goods)
	case s.failing && w.now.Before(s.last.Add(time.Second)):
		w.broken("two turns within a second at a failing endpoint")
	case t.ticket.turn != t:
		w.broken("a turn that its ticket doesn't get")
	}
	if s.rested[n] && w.now.Before(s.tried[n].Add(time.Second)) {
		w.broken("a rest of less than a second")
	}
	s.last, s.tried[n], s.came[n], s.rested[n] = w.now, w.now, false, false
	w.held = append(w.held, held{Turn: t, closings: s.closings})
	if p := w.m.Parallel; p > 0 && len(w.held) > p {
		w.broken("%d turns under way", len(w.held))
	}
	if p := w.m.PerSecond; p > 0 && len(w.held)+len(s.ended) > p {
		w.broken("%d turns that the endpoint may have seen in one second", len(w.held)+len(s.ended))
	}
	t.ticket.turn = nil
}

// due is the deadline that decides a ticket's turn.
func due(t *Ticket) time.Time {
	if t.waiters.len() == 0 {
		return made.Add(Patience)
	}
	return t.waiters.items[0].deadline
}

// evictions looks at turns that must be given up.
func (w *world) evictions() {
	for i, h := range w.held {
		if h.gone || !h.evicted {
			continue
		}
		w.held[i].gone = true
		full := len(w.held) == w.m.Parallel || len(w.held) == w.m.PerSecond
		if !full || w.m.ready.len() == 0 || !h.late || w.now.Before(h.began.Add(evictAfter)) {
			w.broken("a turn is evicted too soon, or for nobody")
		}
		for _, other := range w.held {
			old := other.late && !w.now.Before(other.began.Add(evictAfter))
			if old && other.began.After(h.began) && !w.seen.heard.After(h.began) {
				w.broken("a turn is evicted that is older than another")
			}
			if old && other.began.Before(h.began) && w.seen.heard.After(other.began) {
				w.broken("a turn is evicted that is younger than one whose answer is lost")
			}
		}
	}
}

// told looks at what a ticket was told. One that wants nothing more is forgotten.
func (w *world) told(n int, t *Ticket) {
	var closed Closed
	switch {
	case t.turn != nil:
		w.broken("a turn that isn't under way")
	case errors.As(t.err, &closed):
		if !closed.Until.After(t.limit) {
			w.broken("refused for a pause that it outlasts")
		}
		w.over(t)
	case errors.Is(t.err, ErrAbandoned) && t.waiters.len() > 0:
		w.broken("abandoned though somebody waits")
	}
	t.err = nil
	if t.waiters.len() > 0 {
		return
	}
	if t.state != idle && (t.tried.IsZero() || t.onWire > 0) {
		w.broken("nobody wants it, and it keeps its place")
	}
	if t.state == idle && t.onWire == 0 {
		w.tickets[n] = nil
		w.seen.came[n], w.seen.woken[n], w.seen.rested[n], w.seen.tried[n] = false, false, false, time.Time{}
	}
}

// check looks at the state.
func (w *world) check() {
	m := &w.m
	if m.ready.len() > 0 {
		if _, cause := m.admit(w.now, m.ready.items[0]); cause == Free {
			w.broken("it waits though there is a free place")
		}
		if len(w.held) == 0 && len(w.seen.ended) == 0 && !w.seen.failing && !w.now.Before(w.seen.latest) {
			w.broken("it waits though the endpoint is open and idle")
		}
	}
	if m.ready.len()+m.resting.len() > 0 && len(w.held) == 0 && w.wake.IsZero() {
		w.broken("somebody waits and nobody looks again")
	}
	if m.closed && (w.wake.IsZero() || w.wake.After(m.opens)) {
		w.broken("nobody looks when the pause ends")
	}
	if !w.wake.IsZero() && !w.wake.After(w.now) {
		w.broken("the next look is now")
	}
	if m.closed && (m.opens.After(w.seen.latest) || m.opens.Before(w.seen.opens)) {
		w.broken("the pause ends in %v", m.opens.Sub(w.now))
	}
	if m.window > 1+w.seen.goods {
		w.broken("%d may be under way after %d good answers", m.window, w.seen.goods)
	}
	w.checkPlaces()
	for n, t := range w.tickets {
		switch {
		case t == nil || t.state == idle:
		case w.now.Before(m.opens) && m.closed && !t.limit.IsZero() && m.opens.After(t.limit):
			w.broken("it waits for the end of a pause that outlasts it")
		case t.state == resting && w.seen.woken[n] && t.rest.After(t.tried.Add(t.pace)):
			w.broken("it rests though it was woken")
		}
	}
}

// checkPlaces looks whether all that the machine counts is there.
func (w *world) checkPlaces() {
	m := &w.m
	if len(m.turns) != len(w.held) {
		w.broken("%d turns are counted and %d are under way", len(m.turns), len(w.held))
	}
	untried, waiting := 0, 0
	for _, t := range w.tickets {
		if t == nil || t.state == idle {
			continue
		}
		waiting++
		if t.untried {
			untried++
		}
		if !slices.Contains(map[ticketState][]*Ticket{ready: m.ready.items, resting: m.resting.items}[t.state], t) {
			w.broken("it waits and is in no queue")
		}
	}
	if untried != m.untried {
		w.broken("%d untried are counted and %d are there", m.untried, untried)
	}
	if waiting != m.ready.len()+m.resting.len() {
		w.broken("%d wait, %d are in a queue", waiting, m.ready.len()+m.resting.len())
	}
	if !sound(&m.ready) || !sound(&m.resting) {
		w.broken("a queue is out of order")
	}
}
