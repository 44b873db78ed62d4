package managedid

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// ProbeReport is what came of a request to a link's endpoint that asks for no token.
type ProbeReport struct {
	// Present tells whether the endpoint answered, and as what it is taken for. IMDS, Service Fabric's endpoint and Entra's tenants
	// are recognised; any answer is taken for that of another.
	Present bool `json:"present"`
	// Answer says it in words.
	Answer string `json:"answer"`
	// Took is how long that took, in nanoseconds in JSON.
	Took time.Duration `json:"took"`
}

// String is one line; "" for nil.
func (p *ProbeReport) String() string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("%s, after %v", p.Answer, p.Took.Round(time.Millisecond/10))
}

// probeLimit is for one endpoint.
const probeLimit = 3 * time.Second

// probe sends the endpoint a request that it gives nobody a token for: without the headers and the query of one that asks for a
// token, and to Entra one for the tenant's metadata. While the endpoint has asked for a pause, it sends nothing.
func (c *credential) probe(ctx context.Context, r *LinkReport) {
	r.Probe = &ProbeReport{}
	if !r.ThrottledUntil.IsZero() {
		r.Probe.Answer = "not asked, since the endpoint has asked for a pause"
		return
	} else if ctx.Err() != nil {
		r.Probe.Answer = "not asked, since the caller's context has ended"
		return
	}
	limited, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	address, _, _ := strings.Cut(cmp.Or(c.source.probe, c.source.url), "?")
	req, err := http.NewRequestWithContext(limited, http.MethodGet, address, nil)
	if err != nil {
		r.Probe.Answer = "can't be asked: " + transportCause(err)
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
	select {
	case o := <-answered:
		c.judge(r, o.resp, o.err)
	case <-limited.Done():
		r.Probe.Answer = "no answer in time"
	}
	r.Probe.Took = time.Since(start)
}

// judge says whether an answer to a probe is the endpoint's own, and what else it tells.
func (c *credential) judge(r *LinkReport, resp *http.Response, err error) {
	p := r.Probe
	if err != nil {
		p.Answer = transportCause(err)
		return
	}
	a, s := readAnswer(resp), c.source
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
	if v := s.explain(a); p.Present && s.probe != "" && a.status/100 != 2 && v.reason != "" && v.reason.final() && r.Problem == "" {
		r.Problem, r.Reason = fmt.Sprintf("%s (%s)", v.advice, a), v.reason
	}
	if p.Present && a.status == http.StatusTooManyRequests {
		r.ThrottledUntil = time.Now().Add(max(retryAfter(resp.Header, time.Now()), firstBackOff)).Round(0).UTC()
	}
}
