package managedid

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// attempt is what a flight remembers of its last try.
type attempt struct {
	number     int // 1, 2, …
	sent       time.Time
	retryAfter http.Header // what the gate hid from azcore's retry policy
}

var retryAfterHeaders = []string{"Retry-After", "Retry-After-Ms", "X-Ms-Retry-After-Ms"}

// throttlePolicy stands below azcore's retry policy and sends each try when the gate lets it. Waiting lies outside
// the try's time limit, and Retry-After is the gate's affair: azcore's policy gives up where it exceeds its cap.
type throttlePolicy struct {
	who        string
	endpoint   *endpoint
	source     *source
	tryTimeout time.Duration
	logger     *slog.Logger // may be nil
}

func (p *throttlePolicy) Do(req *policy.Request) (*http.Response, error) {
	ctx := req.Raw().Context()
	own := flightOf(ctx)
	own.resting.Store(false)
	own.sending.Store(false)
	closings, err := p.endpoint.enter(ctx, p.who)
	if err != nil {
		return nil, err
	}
	own.sending.Store(true)
	own.tries.Add(1)
	p.endpoint.update(p.endpoint.presence.try)
	var try attempt
	req.OperationValue(&try)
	try = attempt{number: try.number + 1, sent: time.Now()}
	var resp *http.Response
	defer func() { // deferred, so that a panicking transport doesn't keep its place
		if err != nil || resp.StatusCode/100 != 2 {
			own.sending.Store(false)
			own.resting.Store(true)
		}
		p.settle(req, closings, resp, err)
	}()
	limited, cancel := context.WithTimeout(ctx, p.tryTimeout)
	defer cancel()
	limited = httptrace.WithClientTrace(limited, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		p.endpoint.update(p.endpoint.presence.connect)
	}})
	err = errors.New("the transport didn't return")
	if resp, err = req.WithContext(limited).Next(); err == nil {
		resp, err = download(resp, req.Raw()) // which a policy of the user's may have brought unread
	}
	if err == nil {
		try.retryAfter = http.Header{}
		for _, name := range retryAfterHeaders {
			if v := resp.Header.Values(name); len(v) > 0 {
				try.retryAfter[name] = v
			}
		}
	}
	req.SetOperationValue(try)
	return resp, err
}

// settle gives back the try's place and records what it says about the endpoint, for all who wait for it.
func (p *throttlePolicy) settle(req *policy.Request, closings int, resp *http.Response, err error) {
	ended := req.Raw().Context().Err() != nil // the flight was, which says nothing about the endpoint
	var a answer
	var cause string
	if err == nil {
		a = readAnswer(resp, secrets(req.Raw())...)
	} else {
		cause = transportCause(err, secrets(req.Raw())...)
	}
	var closed time.Time
	failure := cause
	p.endpoint.update(func(now time.Time) {
		p.endpoint.presence.end()
		if err != nil {
			p.endpoint.gate.end(now, closings, nil)
			if e, ok := errors.AsType[transportError](err); ok && e.begun != nil {
				p.endpoint.presence.begin(p.source, *e.begun)
			}
			if !ended {
				p.endpoint.failure = cause
				p.endpoint.presence.fail(now, absent(p.who, p.source, cause))
			}
			return
		}
		p.endpoint.presence.answer(now, p.source, p.who, a)
		if retriable := resp.StatusCode >= 500 || resp.StatusCode == 404 || resp.StatusCode == 410 || resp.StatusCode == 429; retriable {
			failure = statusLine(resp.StatusCode)
		}
		p.endpoint.failure = failure
		if !p.endpoint.presence.proven { // something else's answer says nothing about when the endpoint may be asked
			p.endpoint.gate.end(now, closings, nil)
			return
		}
		before := p.endpoint.gate.opens
		if p.endpoint.gate.end(now, closings, resp); p.endpoint.gate.opens.After(before) {
			closed = p.endpoint.gate.opens
		}
	})
	if p.logger != nil && failure != "" && (!ended || !closed.IsZero()) { // a handler may need a token itself
		var try attempt
		req.OperationValue(&try)
		of := []any{"source", p.source.name, "endpoint", p.source.host, "try", try.number, "failure", failure}
		if closed.IsZero() {
			go p.logger.Debug("try failed", of...)
		} else {
			go p.logger.Warn("endpoint throttled", append(of, "until", closed.Round(0).UTC())...)
		}
	}
	if err == nil {
		for _, name := range retryAfterHeaders {
			resp.Header.Del(name)
		}
	}
}
