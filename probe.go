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
func (c *credential) probe(ctx context.Context) *ProbeReport {
	if _, opens := c.news(); opens.After(time.Now()) {
		return &ProbeReport{Answer: "not asked, since the endpoint has asked for a pause"}
	} else if ctx.Err() != nil {
		return &ProbeReport{Answer: "not asked, since the caller's context has ended"}
	}
	limited, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	address, _, _ := strings.Cut(cmp.Or(c.source.probe, c.source.url), "?")
	req, err := http.NewRequestWithContext(limited, http.MethodGet, address, nil)
	if err != nil {
		return &ProbeReport{Answer: "the endpoint can't be asked: " + transportCause(err)}
	}
	start := time.Now()
	answered := make(chan *ProbeReport, 1)
	go func() { // since a transport may ignore the context
		resp, err := c.transport.Do(req)
		answered <- c.judge(resp, err)
	}()
	var p *ProbeReport
	select {
	case p = <-answered:
	case <-limited.Done():
		p = &ProbeReport{Answer: "no answer in time"}
	}
	p.Took = time.Since(start)
	return p
}

// judge says whether an answer to a probe is the endpoint's own.
func (c *credential) judge(resp *http.Response, err error) *ProbeReport {
	if err != nil {
		return &ProbeReport{Answer: transportCause(err)}
	}
	a, s := readAnswer(resp), c.source
	got := " (a probe gets " + statusLine(a.status) + ")"
	switch {
	case a.status/100 == 3, a.status == http.StatusProxyAuthRequired, s.isOwn != nil && !s.isOwn(a):
		return &ProbeReport{Answer: "something else is there" + got}
	case s.probe != "" && a.status/100 != 2:
		return &ProbeReport{Answer: fmt.Sprintf("%s (%s)", s.explain(a).advice, a)}
	case s.isOwn != nil:
		return &ProbeReport{Present: true, Answer: "there, and it is " + s.name + got}
	}
	return &ProbeReport{Present: true, Answer: "there" + got}
}
