package managedid

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/internal/gate"
)

// Probe is the result of a request to a link's endpoint that doesn't ask for a token.
type Probe struct {
	// Present reports whether the endpoint answered. An answer of IMDS, Service Fabric's endpoint or a tenant of Entra
	// must look like its own. For any other endpoint, every answer counts.
	Present bool `json:"present"`
	// Answer describes the result in words.
	Answer string `json:"answer"`
	// Took is how long the request took, in nanoseconds in JSON. Zero means that none was sent, and Answer says why.
	Took time.Duration `json:"took"`
}

// String returns one line, or "" for nil.
func (p *Probe) String() string {
	switch {
	case p == nil:
		return ""
	case p.Took == 0:
		return p.Answer
	}
	return fmt.Sprintf("%s, after %v", p.Answer, p.Took.Round(time.Millisecond/10))
}

// probeLimit is the time limit of a probe of one endpoint.
const probeLimit = 3 * time.Second

// probe sends a request that gets no token. It has neither the headers nor the query of a token request, and Entra is
// asked for the metadata of the tenant. Like any request it waits for its turn, and a pause that the answer asks for
// holds for all requests.
func (c *credential) probe(ctx context.Context, r *Link) {
	r.Probe = &Probe{}
	limited, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	address, _, _ := strings.Cut(cmp.Or(c.source.probeURL, c.source.url), "?")
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
	sent := time.Now()
	type outcome struct {
		resp *http.Response
		err  error
	}
	answered := make(chan outcome, 1)
	go func() { // because a transport may ignore the context
		resp, err := c.transport.Do(req)
		answered <- outcome{resp, err}
	}()
	var own *http.Response // the endpoint's own answer, or nil
	select {
	case o := <-answered:
		if o.err != nil {
			r.Probe.Answer = transportCause(o.err)
		} else if c.judge(r, answer.Read(o.resp)); r.Probe.Present {
			own = o.resp
		}
	case <-limited.Done():
		r.Probe.Answer = "no answer in time"
	}
	r.Probe.Took = time.Since(sent)
	turn.End(probed(own))
	r.ThrottledUntil = c.throttledUntil()
}

// judge says in a report whether an answer to a probe is the endpoint's own, and what else it shows.
func (c *credential) judge(r *Link, a answer.Answer) {
	p, s := r.Probe, c.source
	p.Present = a.Status/100 != 3 && a.Status != http.StatusProxyAuthRequired &&
		(s.recogniseProbe == nil || s.recogniseProbe(a))
	switch {
	case !p.Present:
		p.Answer = "something else is there"
	case s.recogniseProbe != nil:
		p.Answer = "there, and it is " + s.name
	default:
		p.Answer = "there"
	}
	p.Answer += " (a probe gets " + answer.StatusLine(a.Status) + ")"
	if p.Present && s.probeURL != "" && a.Status/100 != 2 && r.Problem == "" {
		if v := s.classify(a); v.reason != "" && v.reason.final() {
			r.Problem, r.Reason = fmt.Sprintf("%s (%s)", v.advice, a), v.reason
		}
	}
}

// probed returns the outcome of a probe for the gate. own is the endpoint's own answer. Nil means that there was none,
// for which the probe itself may be the cause.
func probed(own *http.Response) gate.Outcome {
	if own == nil {
		return gate.Outcome{}
	}
	switch pause, asked := answer.Pause(own); {
	case asked:
		return gate.Outcome{Kind: gate.Throttled, Pause: pause, Failure: answer.StatusLine(own.StatusCode)}
	case own.StatusCode >= 500:
		return gate.Outcome{}
	}
	return gate.Outcome{Kind: gate.Good}
}
