package managedid

import (
	"fmt"
	"time"
)

const (
	connectLimit = 3 * time.Second  // an IMDS that is there accepts a connection within this
	answerLimit  = 10 * time.Second // and gives a first answer within this
	absentMemory = 5 * time.Second  // how long "absent" is believed
)

// presence is what is known about whether an endpoint that nothing announces (IMDS) is there. Only callers who have
// another link to try look at it: flights go on regardless. Its fields are guarded by endpoint.mu.
type presence struct {
	proven    bool      // it has answered as what it is taken for
	patient   bool      // the transport hides its connections: the first answer's limit serves for both
	began     time.Time // of the check under way; zero when none is
	connected time.Time // of the try under way; zero before
	absent    error     // the last verdict
	until     time.Time // when the verdict is forgotten
}

// check begins or continues the shared check. It returns the verdict that the endpoint is absent, or the time
// at which to ask again; both are zero once the endpoint is proven.
func (p *presence) check(now time.Time, timedOut error) (until time.Time, absent error) {
	switch {
	case p.proven:
		return time.Time{}, nil
	case now.Before(p.until):
		return time.Time{}, p.absent
	case p.began.IsZero():
		p.began = now
	}
	switch {
	case p.connected.After(p.began):
		until = p.connected.Add(answerLimit)
	case p.patient || !p.connected.IsZero():
		until = p.began.Add(answerLimit)
	default:
		until = p.began.Add(connectLimit)
	}
	if !now.Before(until) {
		p.fail(now, timedOut)
		return time.Time{}, p.absent
	}
	return until, nil
}

func (p *presence) connect(now time.Time) {
	p.connected = now
}

// fail records a try that got no answer.
func (p *presence) fail(now time.Time, verdict error) {
	p.connected = time.Time{}
	if !p.proven {
		p.began, p.absent, p.until = time.Time{}, verdict, now.Add(absentMemory)
	}
}

// answer records a try that got one: it proves the endpoint, or that something else is at its address.
func (p *presence) answer(now time.Time, s *source, who string, a answer) {
	if s.recognise == nil || s.recognise(a) {
		p.proven = true
		return
	}
	p.fail(now, notRecognised(who, s, a))
}

func absent(who string, s *source, cause string) error {
	return &CredentialUnavailableError{Reason: ReasonAbsent, message: fmt.Sprintf("%s: not found at %s: %s", who, s.host, cause)}
}

func notRecognised(who string, s *source, a answer) error {
	return &CredentialUnavailableError{Reason: ReasonAbsent,
		message: fmt.Sprintf("%s: what answers at %s is something else, perhaps a proxy (%s)", who, s.host, statusLine(a.status))}
}
