package managedid

import (
	"slices"
	"time"
)

// What follows is the reference of TestModel: what the design promises of cache, refresh, flight and gate, in the plainest form,
// for one thread and a given time. A flight has one try here.

type modelToken struct {
	id           string
	expires, due time.Time
}

func (t *modelToken) valid(now time.Time) bool { return t != nil && now.Before(t.expires) }

// pause puts a refresh off.
func (t *modelToken) pause(now time.Time) {
	t.due = earlier(now.Add(max(30*time.Second, t.expires.Sub(now)/10)), t.expires)
}

type modelFlight struct {
	key         string
	began, ends time.Time     // ends is zero until it is sent
	request     *modelRequest // what was sent, and the answer
	closings    int           // of the gate, when it was sent
	token       *modelToken
	outcome     string // not empty: it has landed
}

// modelPlace is a key's place in the cache.
type modelPlace struct {
	token   *modelToken
	flight  *modelFlight
	refusal string // replayed until refused
	refused time.Time
}

type model struct {
	places           map[string]*modelPlace
	waiting          []*modelCall
	opens            time.Time // the gate
	trusted          bool      // it has answered since it closed: more than one request may go
	flying, closings int
	wrong            string
}

// call is what becomes of a call at once.
func (m *model) call(now time.Time, c *modelCall) {
	p := m.places[c.key]
	if c.held = nil; p.token.valid(now) {
		c.held = p.token
	}
	switch {
	case c.held != nil && now.Before(c.held.due):
		c.end(now, c.held.id)
		return
	case c.held == nil && m.hopeless(now, c):
		c.end(now, "throttled")
		return
	case c.held == nil && now.Before(p.refused):
		c.end(now, p.refusal)
		return
	case p.flight == nil:
		p.flight = &modelFlight{key: c.key, began: now}
	}
	if c.flight = p.flight; c.held != nil && c.held.expires.Sub(now) >= 2*time.Minute {
		c.end(now, c.held.id)
		return
	}
	m.waiting = append(m.waiting, c)
}

// hopeless: the gate opens after the caller's deadline, or too late for anybody, and nothing is under way.
func (m *model) hopeless(now time.Time, c *modelCall) bool {
	return m.outlasts(now, c) && (c.flight == nil || c.flight.ends.IsZero())
}

func (m *model) outlasts(now time.Time, c *modelCall) bool {
	return m.opens.After(now) && (!c.deadline.IsZero() && m.opens.After(c.deadline) || m.opens.Sub(now) > 2*time.Minute)
}

// until is when a waiting caller has waited enough: two seconds from the beginning of the refresh, or just before its token's end.
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
	case f.outcome != "" && f.token.valid(now):
		c.end(now, f.token.id)
	case c.held != nil && (f.outcome != "" || enough || now.Before(m.opens)):
		c.end(now, c.held.id)
	case c.held != nil:
	case f.outcome != "":
		c.end(now, f.outcome)
		c.closed = m.outlasts(now, c) // which it may have heard first
	case enough:
		c.end(now, "deadline")
	case m.hopeless(now, c):
		c.end(now, "throttled")
	}
}

// settle does all that happens at one time. sent are the requests that were.
func (m *model) settle(now time.Time, sent []*modelRequest) {
	for again := true; again; {
		again = false
		for _, p := range m.places {
			if f := p.flight; f != nil && !f.ends.IsZero() && !now.Before(f.ends) {
				m.answered(now, p, f)
				again = true
			} else if f != nil && f.ends.IsZero() && now.Before(m.opens) && m.opens.After(f.began.Add(2*time.Minute)) {
				m.land(now, p, f, nil, "throttled")
				again = true
			}
		}
		if len(sent) > 0 && !again {
			m.send(now, sent[0])
			sent, again = sent[1:], true
		}
	}
	for _, p := range m.places {
		m.check(p.flight == nil || !p.flight.ends.IsZero() || !m.admits(now), "a request wasn't sent")
	}
	for _, c := range m.waiting {
		m.proceed(now, c)
	}
	m.waiting = slices.DeleteFunc(m.waiting, func(c *modelCall) bool { return c.want != "" })
}

func (m *model) admits(now time.Time) bool {
	return !now.Before(m.opens) && (m.trusted || m.flying == 0)
}

func (m *model) send(now time.Time, r *modelRequest) {
	f := m.places[r.key].flight
	m.check(f != nil && f.ends.IsZero(), "a request that nobody wants, or a second one")
	m.check(m.admits(now), "a request through a closed gate")
	if m.wrong == "" {
		f.request, f.ends, f.closings = r, now.Add(min(r.latency, entraRetry.TryTimeout)), m.closings
		m.flying++
	}
}

func (m *model) answered(now time.Time, p *modelPlace, f *modelFlight) {
	r, current := f.request, f.closings == m.closings
	status := r.status
	if m.flying--; r.latency > entraRetry.TryTimeout {
		status = 0 // none
	}
	switch {
	case status == 429 || status == 503:
		if current {
			m.closings, m.trusted = m.closings+1, false
		}
		if opens := now.Add(r.retryAfter); opens.After(m.opens) {
			m.opens = opens
		}
	case status != 0 && current:
		m.trusted = true
	}
	switch status {
	case 200:
		t := &modelToken{id: r.id, expires: r.expires, due: r.expires.Add(-5 * time.Minute)}
		if !t.valid(now) {
			m.land(now, p, f, nil, string(ReasonMalformedAnswer))
			return
		} else if !now.Before(t.due) {
			t.pause(now)
		}
		m.land(now, p, f, t, t.id)
	case 400:
		m.land(now, p, f, nil, "refused")
	case 429:
		m.land(now, p, f, nil, string(ReasonThrottled))
	default:
		m.land(now, p, f, nil, string(ReasonNotReady))
	}
}

// land ends a flight with a token, or with an outcome.
func (m *model) land(now time.Time, p *modelPlace, f *modelFlight, t *modelToken, outcome string) {
	p.flight, f.token, f.outcome = nil, t, outcome
	switch {
	case t != nil:
		p.token, p.refused = t, time.Time{}
		return
	case p.token.valid(now) && !now.Before(p.token.due):
		p.token.pause(now)
	}
	if outcome == "refused" || outcome == string(ReasonMalformedAnswer) {
		p.refusal, p.refused = outcome, now.Add(time.Second)
	}
}

func (m *model) check(ok bool, problem string) {
	if !ok && m.wrong == "" {
		m.wrong = problem
	}
}
