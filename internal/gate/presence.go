package gate

import "time"

const (
	connectLimit = 3 * time.Second  // an endpoint that is there accepts a connection within this
	answerLimit  = 10 * time.Second // and gives a first answer within this
	silentLimit  = 3 * time.Second  // of the second connection, without which silence proves nothing
	absentMemory = 5 * time.Second  // how long "absent" is believed
)

// Absence is the verdict that an endpoint is not there.
type Absence struct {
	Cause   string // why no answer came
	Silent  bool   // nothing shows it but that no answer came to a connection
	Foreign bool   // an answer came that was somebody else's
	Status  int    // of that answer
}

// presence is what is known about whether an endpoint is there. Callers with another place to go look at it; flights
// go on regardless.
type presence struct {
	proven  bool // it has answered as what it is taken for
	patient bool // the transport hides its connections: the first answer's limit serves for both
	silent  int  // connections, in a row, that ended without an answer
	// first and second are when the first two connections came of the requests under way, and of those beside them
	// that were given up
	first, second time.Time
	verdict       *Absence
	until         time.Time // when the verdict is forgotten
}

// absence returns the verdict, or else the time at which to look again; zero means at the next event.
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

// connect notes a connection of a request under way.
func (p *presence) connect(now time.Time) {
	if p.first.IsZero() {
		p.first = now
	} else if p.second.IsZero() {
		p.second = now
	}
}

// limit is when silence proves absence. The turns are in the order of their beginnings.
func (p *presence) limit(turns []*Turn) (at time.Time) {
	switch {
	case p.first.IsZero():
		return turns[0].began.Add(connectLimit)
	case p.second.IsZero() && p.silent == 0:
		return p.first.Add(2 * answerLimit) // no second request was sent, for whatever reason
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
			p.silent++ // one connection that says nothing proves nothing
			return
		}
		p.judge(now, &Absence{Cause: o.Failure, Silent: silent})
	}
}
