package managedid

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/internal/gate"
	"github.com/managedid/managedid/internal/tokens"
)

// retryPolicy replaces azcore's retry policy, whose sleep nothing can interrupt. It sends each try when the gate allows
// it. Between tries it rests in the gate, which can end the rest early.
type retryPolicy struct {
	who     string
	gate    *gate.Gate
	source  *source
	options policy.RetryOptions // without zero fields
	pace    time.Duration       // see gate.Rest; zero unless the user sets RetryDelay
	held    func(until time.Time)
	log     recorder
}

func (p *retryPolicy) Do(req *policy.Request) (*http.Response, error) {
	ctx := req.Raw().Context()
	d, ok := ctx.Value(dispatchKey{}).(*dispatch)
	if !ok { // a policy of the user has replaced the context
		deadline, _ := ctx.Deadline()
		ticket, caller := p.gate.Ticket(deadline)
		defer caller.Leave()
		d = &dispatch{progress: &progress{ticket: ticket}, oneTime: true, began: time.Now(),
			limit: time.Now().Add(tokens.FlightLimit)}
	} else if d.hedge {
		return req.Next()
	}
	ctx, cancel := context.WithDeadline(ctx, d.limit) // d.limit again, because a policy may have removed the deadline
	defer cancel()
	var err error
	if d.body, err = readBody(req); err != nil {
		return nil, err
	}
	var rest gate.Rest
	rest.Pace = p.pace
	left := p.options.MaxRetries
	for {
		turn, err := d.progress.ticket.Enter(ctx, rest)
		if err != nil {
			return nil, p.notEntered(ctx, err)
		}
		resp, err := p.try(ctx, req, d, turn, &left)
		switch {
		case err == errEvicted:
			rest.Until = time.Time{}
			continue
		case ctx.Err() != nil || p.options.MaxRetries == 0:
			return resp, err
		}
		switch again, crashed := p.retriable(ctx, resp, err); {
		case crashed != nil:
			return nil, crashed
		case !again:
			return resp, err
		case err == nil && answer.AsksForPause(resp):
			rest.Until = time.Time{} // only the gate decides when the pause ends
			continue
		case turn.Early && time.Now().Before(rest.Until):
			continue // keep the rest that was planned
		}
		if left == 0 {
			return resp, err
		}
		left--
		rest.Until = time.Now().Add(p.delay(p.options.MaxRetries - left))
	}
}

// notEntered returns the error for a turn that the gate refused.
func (p *retryPolicy) notEntered(ctx context.Context, err error) error {
	if closed, ok := err.(gate.Closed); ok {
		return throttled(p.who, closed.Until)
	}
	return err
}

// delay returns the delay of azcore: RetryDelay times 1, 3, 7, …, multiplied by a random factor from 0.8 to 1.3, and at
// most MaxRetryDelay.
func (p *retryPolicy) delay(retries int32) time.Duration {
	d := float64(p.options.RetryDelay) * (math.Pow(2, float64(retries)) - 1) * (0.8 + rand.Float64()/2)
	return min(p.options.MaxRetryDelay, time.Duration(min(d, float64(time.Hour)))) // no flight is longer
}

// retriable reports whether another try may have another result, by the rules of azcore's retry policy. crashed is the
// error of a ShouldRetry that panicked.
func (p *retryPolicy) retriable(ctx context.Context, resp *http.Response, err error) (again bool, crashed error) {
	var final interface{ NonRetriable() }
	if errors.As(err, &final) {
		return false, nil
	}
	if p.options.ShouldRetry != nil {
		return guard(p.log, "RetryOptions.ShouldRetry", crashedIn(ctx), func() (bool, error) {
			return p.options.ShouldRetry(resp, err), nil
		})
	}
	return err != nil || slices.Contains(p.options.StatusCodes, resp.StatusCode), nil
}

// retriableStatuses are the status codes that azcore's retry policy retries by default.
var retriableStatuses = []int{http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
	http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}

// resolved returns the user's retry options. The source's options replace zero fields, and azcore's defaults replace
// those that are zero in both.
func resolved(user, source policy.RetryOptions) policy.RetryOptions {
	r := user
	r.MaxRetries = cmp.Or(r.MaxRetries, source.MaxRetries, 3)
	r.RetryDelay = cmp.Or(r.RetryDelay, source.RetryDelay, 800*time.Millisecond)
	r.MaxRetryDelay = cmp.Or(r.MaxRetryDelay, source.MaxRetryDelay, time.Minute)
	r.TryTimeout = max(0, cmp.Or(r.TryTimeout, source.TryTimeout))
	if r.MaxRetryDelay < 0 {
		r.MaxRetryDelay = math.MaxInt64
	}
	r.MaxRetries, r.RetryDelay = max(0, r.MaxRetries), max(0, r.RetryDelay)
	if r.StatusCodes == nil && r.ShouldRetry == nil {
		r.StatusCodes, r.ShouldRetry = source.StatusCodes, source.ShouldRetry
	}
	if r.StatusCodes == nil {
		r.StatusCodes = retriableStatuses
	}
	return r
}

// outcome returns what a shot shows about the endpoint.
func (p *retryPolicy) outcome(ctx context.Context, s *shot) (o gate.Outcome) {
	resp, err := s.resp, s.err
	if err != nil {
		if _, crashed := asType[crash](err); crashed || ctx.Err() != nil {
			return o // this says nothing about the endpoint
		}
		o.Kind, o.Failure = gate.Failed, transportCause(err, s.secrets...)
		o.Silent = errors.Is(err, context.DeadlineExceeded)
		if e, ok := asType[transportError](err); ok && e.begun != nil {
			o.Proves = p.source.recognises(*e.begun)
		}
		return o
	}
	o.Kind = gate.Good
	if a := answer.Read(resp, s.secrets...); p.source.recognises(a) {
		o.Proves = true
	} else {
		o.Foreign, o.Status = true, resp.StatusCode
	}
	again := resp.StatusCode >= 500
	if code := resp.StatusCode; code == http.StatusNotFound || code == http.StatusGone ||
		code == http.StatusRequestTimeout {
		again, _ = p.retriable(ctx, resp, nil)
	}
	switch pause, asked := answer.Pause(resp); {
	case asked:
		o.Kind, o.Pause, o.Failure = gate.Throttled, pause, answer.StatusLine(resp.StatusCode)
	case again:
		o.Kind, o.Failure = gate.Failed, answer.StatusLine(resp.StatusCode)
	case o.Foreign:
		o.Failure = answer.StatusLine(resp.StatusCode)
	}
	return o
}

// settle ends the turn of a shot with its outcome, and writes a log record of a failure or a pause.
func (p *retryPolicy) settle(ctx context.Context, d *dispatch, s *shot) {
	o := p.outcome(ctx, s)
	closed := s.turn.End(o)
	if !closed.IsZero() {
		p.held(closed)
	}
	if o.Failure == "" || ctx.Err() != nil && closed.IsZero() {
		return
	}
	attributes := []any{"source", p.source.name, "endpoint", p.source.host, "try", d.tries, "failure", o.Failure}
	if closed.IsZero() {
		p.log.behind(slog.LevelDebug, "try failed", attributes...)
	} else {
		p.log.behind(slog.LevelWarn, "endpoint throttled", append(attributes, "until", closed.Round(0).UTC())...)
	}
}
