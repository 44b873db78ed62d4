package conformance

import (
	"fmt"
	"slices"
	"time"

	"github.com/managedid/managedid"
)

// What follows is the reference of TestModel: what the design promises of cache, refresh, flight and gate, in the
// plainest form, for one thread and a given time. It can't know the times that the library draws at random, so it has
// bounds for these, and takes from the library's records when a pause ends and when a request is given up: it only
// checks that this may be so.

type modelToken struct {
	id, claims   string
	expires, due time.Time
	asked        time.Time
	number       int // of its flight
}

func (t *modelToken) valid(now time.Time) bool { return t != nil && now.Before(t.expires) }

// refresh puts the next refresh off.
func (t *modelToken) refresh(now time.Time, in time.Duration) {
	t.due = earlier(now.Add(min(max(in, 30*time.Second), 24*time.Hour)), t.expires)
}

func (t *modelToken) pause(now time.Time) { t.refresh(now, min(t.expires.Sub(now), 24*time.Hour)/10) }

// takes: a challenge that came with a token half a minute ago has had that token refused.
func (t *modelToken) takes(now time.Time, claims string) bool {
	return claims == "" || t != nil && claims == t.claims && now.Sub(t.asked) < 30*time.Second
}

// modelPlace is a key's place in the cache.
type modelPlace struct {
	token    *modelToken
	number   int
	flights  map[string]*modelFlight // by claims
	refusals map[string]modelRefusal // likewise
	ghosts   []*modelFlight          // that may still be in the queue
}

type modelRefusal struct {
	outcome string
	until   time.Time
}

type model struct {
	modelGate
	retries  int
	places   map[string]*modelPlace
	waiting  []*modelCall
	failures map[string]string // flights that failed by the records: key and time → reason
	now      time.Time
	unsure   bool // nothing can be said any more
	wrong    string
}

// call is what becomes of a call at once.
func (m *model) call(now time.Time, c *modelCall) {
	p, again := m.places[c.key], c.flight != nil
	c.flight, c.held = nil, nil
	if t := p.token; t.valid(now) && t.takes(now, c.claims) {
		c.held = t
	}
	f := p.flights[c.claims]
	refusal := p.refusals[c.claims]
	switch {
	case c.held != nil && now.Before(c.held.due):
		c.end(now, c.held.id)
		return
	case c.held == nil && m.hopeless(now, c, f):
		c.end(now, "throttled")
		return
	case c.held == nil && now.Before(refusal.until):
		c.end(now, refusal.outcome)
		return
	}
	due := c.held != nil && c.held.expires.Sub(now) >= 2*time.Minute
	if f == nil {
		m.unsure = m.unsure || slices.ContainsFunc(p.ghosts, func(g *modelFlight) bool {
			return g.claims == c.claims && now.Before(g.began.Add(3*time.Minute))
		})
		p.number++
		f = &modelFlight{place: p, claims: c.claims, number: p.number, began: now, made: c.began, since: now}
		f.owner, f.untried = c, true
		if again { // or another's of those who were left
			f.made = now
		}
		if p.flights[c.claims] = f; c.held != nil {
			f.keep = c.held.expires
		}
		m.flights = append(m.flights, f)
	} else if !due {
		m.joined(now, f)
	}
	if due {
		c.end(now, c.held.id)
		return
	}
	if !f.missed(now) {
		f.since = now
	}
	c.flight, c.joined = f, now
	f.callers, f.guests = append(f.callers, c), append(f.guests, c)
	m.waiting = append(m.waiting, c)
}

// hopeless: the gate opens after the caller's deadline, or too late for anybody, and its own request is not under way.
func (m *model) hopeless(now time.Time, c *modelCall, f *modelFlight) bool {
	return m.outlasts(now, c) && (f == nil || len(f.shots) == 0)
}

func (m *model) outlasts(now time.Time, c *modelCall) bool {
	deadline := c.deadline
	if deadline.IsZero() {
		deadline = c.began.Add(3 * time.Minute)
	}
	return m.opens.After(now) && m.opens.After(deadline)
}

// until is when a waiting caller has waited enough: two seconds from the beginning of the refresh, or just before its
// token's end.
func (c *modelCall) until() time.Time {
	if c.held == nil {
		return c.deadline
	}
	until := earlier(c.flight.began.Add(2*time.Second), c.held.expires.Add(-100*time.Millisecond))
	if !c.deadline.IsZero() {
		until = earlier(until, c.deadline)
	}
	return until
}

func (m *model) proceed(now time.Time, c *modelCall) {
	f, enough := c.flight, !c.until().IsZero() && !now.Before(c.until())
	switch {
	case f.landed && f.token.valid(now):
		c.end(now, f.token.id)
	case c.held != nil && (f.landed || enough || now.Before(m.opens)):
		c.end(now, c.held.id)
	case c.held != nil:
	case f.landed && f.owner != c && f.tried.Before(c.began) && !final(f.outcome):
		m.leave(now, c)
		m.call(now, c) // no try was made since it came
	case f.landed:
		m.fail(now, c, f.outcome)
	case enough:
		m.fail(now, c, "deadline")
	case m.hopeless(now, c, f):
		m.fail(now, c, "throttled")
	}
	if c.want != "" && c.flight != nil {
		m.leave(now, c)
	}
}

func final(outcome string) bool {
	return outcome == "refused" || outcome == string(managedid.ReasonMalformedAnswer)
}

// fail ends a call without a token, unless another flight has brought one.
func (m *model) fail(now time.Time, c *modelCall, outcome string) {
	if t := m.places[c.key].token; t.valid(now) && t.takes(now, c.claims) {
		outcome = t.id
	}
	c.end(now, outcome)
}

// leave: a request that wasn't sent and that nobody wants any more won't be.
func (m *model) leave(now time.Time, c *modelCall) {
	f := c.flight
	f.callers = slices.DeleteFunc(f.callers, func(other *modelCall) bool { return other == c })
	m.waiting = slices.DeleteFunc(m.waiting, func(other *modelCall) bool { return other == c })
	if !f.landed && f.tried.IsZero() && !f.missed(now) {
		m.land(now, f, nil, "")
	}
	m.markLate(now, 0, 1)
}

// land ends a flight with a token, or with an outcome.
func (m *model) land(now time.Time, f *modelFlight, t *modelToken, outcome string) {
	p := f.place
	f.landed, f.token, f.outcome = true, t, outcome
	delete(p.flights, f.claims)
	m.flights = slices.DeleteFunc(m.flights, func(other *modelFlight) bool { return other == f })
	old := p.token
	newer := old != nil && old.number > f.number // asked for after this one
	switch {
	case t != nil && (!newer || f.claims != "" && old.claims == ""):
		p.token, p.refusals = t, nil
	case t == nil && old.valid(now) && !now.Before(old.due) && (f.claims == "" || f.claims == old.claims):
		paused := *old
		paused.pause(now)
		p.token = &paused
	}
	if final(outcome) && !newer {
		if p.refusals == nil {
			p.refusals = map[string]modelRefusal{}
		}
		p.refusals[f.claims] = modelRefusal{outcome, now.Add(time.Second)}
	}
}

// settle does all that happens at one time. sent are the requests that were.
func (m *model) settle(now time.Time, came []*modelCall, sent []*modelRequest, stepped bool) {
	m.now = now
	m.open(now)
	for _, s := range slices.Clone(m.underway) {
		if !s.gone && !now.Before(s.ends) {
			m.answered(now, s)
			stepped = true
		}
	}
	for _, f := range m.flights {
		stepped = stepped || len(f.shots) == 0 || len(sent) > 0
	}
	m.markLate(now, 0)
	if stepped {
		m.markLate(now, 1)
	}
	m.limits(now)
	for _, c := range came {
		m.call(now, c)
	}
	for again := true; again; {
		m.limits(now)
		before := len(m.flights)
		for _, c := range slices.Clone(m.waiting) {
			m.proceed(now, c)
		}
		again = len(m.flights) != before
	}
	m.markLate(now, 0)
	if stepped {
		m.markLate(now, 1)
	}
	for _, r := range sent {
		m.send(now, r)
	}
	m.overdue(now, sent)
}

// limits: a request waits three minutes at most, and no longer for a gate that opens later.
func (m *model) limits(now time.Time) {
	for _, f := range slices.Clone(m.flights) {
		limit := f.began.Add(3 * time.Minute)
		switch {
		case f.tried.IsZero() && !f.missed(now) && len(f.callers) == 0 && !f.keep.IsZero():
			m.land(now, f, nil, "") // its token has expired: it leaves the queue when its turn comes
			f.place.ghosts = append(f.place.ghosts, f)
		case len(f.shots) == 0 && now.Before(m.opens) && m.opens.After(limit):
			m.land(now, f, nil, string(managedid.ReasonThrottled))
		case !now.Before(limit):
			m.cancel(f)
			outcome := managedid.ReasonNotReady
			if m.failure == 429 {
				outcome = managedid.ReasonThrottled
			}
			m.land(now, f, nil, string(outcome))
			m.unsure = true // which of two failures was the last, where both came at the limit
		}
	}
}

func (m *model) check(ok bool, problem string, of ...any) {
	if !ok && m.wrong == "" && !m.unsure {
		m.wrong = shortTime(m.now) + ": " + fmt.Sprintf(problem, of...)
	}
}
