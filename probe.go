package managedid

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/managedid/managedid/internal/gate"
)

// ProbeReport is what came of a request to a link's endpoint that asks for no token.
type ProbeReport struct {
	// Present tells whether the endpoint answered, and as what it is taken for. IMDS, Service Fabric's endpoint and Entra's tenants
	// are recognised; any answer is taken for that of another.
	Present bool `json:"present"`
	// Answer says it in words.
	Answer string `json:"answer"`
	// Took is how long that took, in nanoseconds in JSON. Zero: it wasn't asked, as Answer says.
	Took time.Duration `json:"took"`
}

// String is one line; "" for nil.
func (p *ProbeReport) String() string {
	switch {
	case p == nil:
		return ""
	case p.Took == 0:
		return p.Answer
	}
	return fmt.Sprintf("%s, after %v", p.Answer, p.Took.Round(time.Millisecond/10))
}

// probeLimit is for one endpoint.
const probeLimit = 3 * time.Second

// probe sends the endpoint a request that it gives nobody a token for: without the headers and the query of one that asks for a
// token, and to Entra one for the tenant's metadata. Like any other, it waits for its turn, and a pause that it is asked for holds for all.
func (c *credential) probe(ctx context.Context, r *LinkReport) {
	r.Probe = &ProbeReport{}
	limited, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	address, _, _ := strings.Cut(cmp.Or(c.source.probe, c.source.url), "?")
	req, err := http.NewRequestWithContext(limited, http.MethodGet, address, nil)
	if err != nil {
		r.Probe.Answer = "can't be asked: " + transportCause(err)
		return
	}
	deadline, _ := limited.Deadline()
	ticket, caller := c.gate.Ticket(deadline)
	defer caller.Leave()
	turn, err := ticket.Enter(limited, gate.Rest{})
	switch _, closed := err.(gate.Closed); {
	case closed:
		r.Probe.Answer = "not asked, since the endpoint has asked for a pause"
		return
	case ctx.Err() != nil:
		r.Probe.Answer = "not asked, since the caller's context has ended"
		return
	case err != nil:
		r.Probe.Answer = "not asked, since a request before it takes too long"
		return
	}
	start := time.Now()
	type outcome struct {
		resp *http.Response
		err  error
	}
	answered := make(chan outcome, 1)
	go func() { // since a transport may ignore the context
		resp, err := c.transport.Do(req)
		answered <- outcome{resp, err}
	}()
	var own *http.Response // the endpoint's own answer, or nil
	select {
	case o := <-answered:
		if o.err != nil {
			r.Probe.Answer = transportCause(o.err)
		} else if c.judge(r, readAnswer(o.resp)); r.Probe.Present {
			own = o.resp
		}
	case <-limited.Done():
		r.Probe.Answer = "no answer in time"
	}
	r.Probe.Took = time.Since(start)
	turn.End(probed(own))
	r.ThrottledUntil = c.throttledUntil()
}

// judge says whether an answer to a probe is the endpoint's own, and what else it tells.
func (c *credential) judge(r *LinkReport, a answer) {
	p, s := r.Probe, c.source
	p.Present = a.status/100 != 3 && a.status != http.StatusProxyAuthRequired && (s.isOwn == nil || s.isOwn(a))
	switch {
	case !p.Present:
		p.Answer = "something else is there"
	case s.isOwn != nil:
		p.Answer = "there, and it is " + s.name
	default:
		p.Answer = "there"
	}
	p.Answer += " (a probe gets " + statusLine(a.status) + ")"
	if p.Present && s.probe != "" && a.status/100 != 2 && r.Problem == "" {
		if v := s.explain(a); v.reason != "" && v.reason.final() {
			r.Problem, r.Reason = fmt.Sprintf("%s (%s)", v.advice, a), v.reason
		}
	}
}

// probed says what the endpoint's own answer to a probe tells about it; nil: there was none, which may be the probe's fault.
func probed(own *http.Response) gate.Outcome {
	if own == nil || own.StatusCode >= 500 && pauseOf(own) == 0 {
		return gate.Outcome{}
	} else if pause := pauseOf(own); pause > 0 {
		return gate.Outcome{Kind: gate.Throttled, Pause: named(pause), Failure: statusLine(own.StatusCode)}
	}
	return gate.Outcome{Kind: gate.Good}
}
