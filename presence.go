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
	trying    time.Time // when the try under way was sent; zero when none is
	connected time.Time // when it got its connection; zero before
	absent    error     // the last verdict
	until     time.Time // when the verdict is forgotten
}

// check returns the verdict that the endpoint is absent, or the time at which to ask again; zero means at the next change.
// The limits count from the try under way, whoever sent it.
func (p *presence) check(now time.Time, who string, s *source) (until time.Time, verdict error) {
	switch {
	case p.proven:
		return until, nil
	case now.Before(p.until):
		return until, p.absent
	case p.trying.IsZero():
		return until, nil
	case !p.connected.IsZero():
		until = p.connected.Add(answerLimit)
	case p.patient:
		until = p.trying.Add(answerLimit)
	default:
		until = p.trying.Add(connectLimit)
	}
	if now.Before(until) {
		return until, nil
	}
	p.absent, p.until = absent(who, s, "no answer in time"), now.Add(absentMemory)
	return time.Time{}, p.absent
}

func (p *presence) try(now time.Time) { p.trying = now }

func (p *presence) connect(now time.Time) { p.connected = now }

// end records that the try under way is over, whatever came of it.
func (p *presence) end() { p.trying, p.connected = time.Time{}, time.Time{} }

// fail records a try that got no answer.
func (p *presence) fail(now time.Time, verdict error) {
	if !p.proven {
		p.absent, p.until = verdict, now.Add(absentMemory)
	}
}

// begin records how an answer began, which proves the endpoint, or nothing.
func (p *presence) begin(s *source, a answer) {
	p.proven = p.proven || s.recognise == nil || s.recognise(a)
}

// answer records a try that got one: it proves the endpoint, or that something else is at its address.
func (p *presence) answer(now time.Time, s *source, who string, a answer) {
	if p.begin(s, a); !p.proven {
		p.fail(now, notRecognised(who, s, a))
	}
}

func absent(who string, s *source, cause string) error {
	message := fmt.Sprintf("%s: not found at %s: %s", who, s.host, cause)
	if s.doubt != "" {
		message += "; " + s.doubt
	}
	return &CredentialUnavailableError{Reason: ReasonAbsent, unanswered: cause, message: message}
}

func notRecognised(who string, s *source, a answer) error {
	return &CredentialUnavailableError{Reason: ReasonAbsent,
		message: fmt.Sprintf("%s: what answers at %s is something else, perhaps a proxy (%s)", who, s.host, statusLine(a.status))}
}
