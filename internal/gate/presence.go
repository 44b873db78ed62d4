package gate

import "time"

const (
	connectLimit = 3 * time.Second  // an endpoint that exists accepts a connection within this time
	answerLimit  = 10 * time.Second // and gives a first answer within this time
	silentLimit  = 3 * time.Second  // for the second connection; one silent connection alone proves nothing
	absentMemory = 5 * time.Second  // how long an Absence holds
)

// Absence says that an endpoint is absent, and what shows it.
type Absence struct {
	Cause   string // why there was no answer
	Silent  bool   // only missing answers on connections show it
	Foreign bool   // an answer came from something else
	Status  int    // the status of that answer
}

// presence is what a gate knows about whether the endpoint exists. Callers with an alternative use it. Flights go on
// regardless.
type presence struct {
	proven  bool // the endpoint has answered as the expected one
	patient bool // the transport hides its connections, so answerLimit applies to connection and answer together
	silent  int  // connections in a row that ended without an answer
	// first and second are the times of the first two connections of the requests under way, including those that were
	// given up meanwhile
	first, second time.Time
	verdict       *Absence
	until         time.Time // when the verdict ends
}

// absence returns the verdict, or nil and the time at which to look again. Zero means at the next event.
func (m *machine) absence(now time.Time) (*Absence, time.Time) {
	p := &m.presence
	switch {
	case p.proven:
		return nil, time.Time{}
	case p.verdict != nil && now.Before(p.until):
		return p.verdict, p.until
	case len(m.turns) == 0:
		return nil, time.Time{}
	}
	until := p.limit(m.turns)
	if !until.IsZero() && !now.Before(until) {
		p.judge(now, &Absence{Cause: "no answer in time", Silent: !m.first.IsZero()})
		return p.verdict, p.until
	}
	return nil, until
}

// connect handles a connection of a request under way.
func (p *presence) connect(now time.Time) {
	if p.first.IsZero() {
		p.first = now
	} else if p.second.IsZero() {
		p.second = now
	}
}

// limit returns the time from which silence proves absence. The turns are in the order in which they began.
func (p *presence) limit(turns []*Turn) (at time.Time) {
	switch {
	case p.first.IsZero():
		return turns[0].began.Add(connectLimit)
	case p.second.IsZero() && p.silent == 0:
		return p.first.Add(2 * answerLimit) // there was no second request, for whatever reason
	case p.second.IsZero():
		return p.first.Add(answerLimit)
	}
	return later(p.first.Add(answerLimit), p.second.Add(silentLimit))
}

func (p *presence) judge(now time.Time, verdict *Absence) {
	if !p.proven {
		p.verdict, p.until, p.silent = verdict, now.Add(absentMemory), 0
	}
}

func (p *presence) end(now time.Time, t *Turn, o Outcome) {
	switch {
	case o.Proves:
		p.proven, p.verdict = true, nil
	case o.Kind == Canceled || p.proven:
	case o.Foreign:
		p.judge(now, &Absence{Cause: o.Failure, Foreign: true, Status: o.Status})
	case o.Kind == Failed:
		silent := o.Silent && (p.patient || !t.connected.IsZero())
		if silent && p.silent == 0 {
			p.silent++ // one silent connection proves nothing
			return
		}
		p.judge(now, &Absence{Cause: o.Failure, Silent: silent})
	}
}
