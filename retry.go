package managedid

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/managedid/managedid/internal/gate"
	"github.com/managedid/managedid/internal/tokens"
)

// retryPolicy stands in the place of azcore's, which sleeps where nobody can wake it. It sends each try when the gate
// lets it, and rests between tries where the gate can wake it.
type retryPolicy struct {
	who     string
	gate    *gate.Gate
	source  *source
	options policy.RetryOptions // without zero fields
	pace    time.Duration       // see gate.Rest; zero unless the user wants shorter delays
	held    func(until time.Time)
	log     recorder
}

// dispatch is one pass of a request through the pipeline, and what its policies tell the sender.
type dispatch struct {
	request  *request      // the flight's
	original *http.Request // as it was before the policies
	unsent   []byte        // the original's body
	body     []byte        // as the policies before the retry policy have left it
	limit    time.Time     // the flight's
	pipeline runtime.Pipeline
	oneTime  bool         // it has a key that is good for one request
	hedge    bool         // its try is another dispatch's
	running  atomic.Int32 // shots of the pipeline's own request whose transport has not returned

	sent  time.Time // when the try began that brought the result
	tries int       // so far
	began time.Time
}

// dispatchKey is the key by which a request's context leads the policy to the dispatch.
type dispatchKey struct{}

func (p *retryPolicy) Do(req *policy.Request) (*http.Response, error) {
	ctx := req.Raw().Context()
	d, ok := ctx.Value(dispatchKey{}).(*dispatch)
	if !ok { // a policy of the user's has replaced the context
		deadline, _ := ctx.Deadline()
		ticket, caller := p.gate.Ticket(deadline)
		defer caller.Leave()
		d = &dispatch{request: &request{ticket: ticket}, oneTime: true, began: time.Now(), limit: time.Now().Add(tokens.FlightLimit)}
	} else if d.hedge {
		return req.Next()
	}
	ctx, cancel := context.WithDeadline(ctx, d.limit) // which a policy may have taken off
	defer cancel()
	var err error
	if d.body, err = readBody(req); err != nil {
		return nil, err
	}
	var rest gate.Rest
	rest.Pace = p.pace
	left := p.options.MaxRetries
	for {
		turn, err := d.request.ticket.Enter(ctx, rest)
		if err != nil {
			return nil, p.refusedEntry(ctx, err)
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
		case err == nil && pauseOf(resp) > 0:
			rest.Until = time.Time{} // the gate decides the pause
			continue
		case turn.Early && time.Now().Before(rest.Until):
			continue // with the rest that was planned
		}
		if left == 0 {
			return resp, err
		}
		left--
		rest.Until = time.Now().Add(p.delay(p.options.MaxRetries - left))
	}
}

// readBody reads the body that each try gets a copy of: net/http may still read one after its try has ended.
func readBody(req *policy.Request) ([]byte, error) {
	if req.Body() == nil {
		return nil, nil
	}
	if err := req.RewindBody(); err != nil {
		return nil, err
	}
	return io.ReadAll(req.Body())
}

// refusedEntry explains why the gate gave no turn.
func (p *retryPolicy) refusedEntry(ctx context.Context, err error) error {
	if closed, ok := err.(gate.Closed); ok {
		return throttled(p.who, closed.Until)
	}
	return err
}

func throttled(who string, opens time.Time) error {
	return &AuthenticationFailedError{Reason: ReasonThrottled, RetryAfter: opens,
		message: who + ": throttled by the endpoint until after the caller's deadline, or for over three minutes; RetryAfter says until when"}
}

// delay is azcore's: RetryDelay times 1, 3, 7, …, at random 0.8 to 1.3 times that, at most MaxRetryDelay.
func (p *retryPolicy) delay(retries int32) time.Duration {
	d := float64(p.options.RetryDelay) * (math.Pow(2, float64(retries)) - 1) * (0.8 + rand.Float64()/2)
	return min(p.options.MaxRetryDelay, time.Duration(min(d, float64(time.Hour)))) // no flight lasts longer
}

// retriable tells whether another try may bring something else, as azcore's retry policy decides it.
func (p *retryPolicy) retriable(ctx context.Context, resp *http.Response, err error) (again bool, crashed error) {
	var final interface{ NonRetriable() }
	if errors.As(err, &final) {
		return false, nil
	}
	if p.options.ShouldRetry != nil {
		return guard(p.log, "RetryOptions.ShouldRetry", crashedIn(ctx), func() (bool, error) { return p.options.ShouldRetry(resp, err), nil })
	}
	return err != nil || slices.Contains(p.options.StatusCodes, resp.StatusCode), nil
}

// unnamed is the pause of an answer that asks for one and doesn't say how long.
const unnamed = 1

// pauseOf is positive for an answer that closes the gate: a 429, or a server error that names a time.
func pauseOf(resp *http.Response) time.Duration {
	pause := retryAfter(resp.Header, time.Now())
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests:
		return max(pause, unnamed)
	case code == http.StatusServiceUnavailable:
		return pause
	case code >= 500:
		return min(pause, maxServerPause) // what isn't about throttling fails nobody who can wait
	}
	return 0
}

// named is zero for a pause that the endpoint didn't name.
func named(pause time.Duration) time.Duration {
	if pause == unnamed {
		return 0
	}
	return pause
}

// resolved returns the user's retry options with the source's in the place of zero fields, and azcore's where both
// are zero.
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
		r.StatusCodes = []int{408, 429, 500, 502, 503, 504}
	}
	return r
}

const (
	maxRetryAfter  = 5 * time.Minute // a longer Retry-After is cut to this
	maxServerPause = 2 * time.Minute // likewise that of a server error other than 503
)

// retryAfter reads the headers in azcore's order: two with milliseconds, one with seconds or an HTTP date
// (RFC 9110, section 10.2.3). Nonsense, zero and the past give zero.
func retryAfter(h http.Header, now time.Time) time.Duration {
	for _, f := range []struct {
		name string
		unit time.Duration
	}{{"retry-after-ms", time.Millisecond}, {"x-ms-retry-after-ms", time.Millisecond}, {"Retry-After", time.Second}} {
		value := h.Get(f.name)
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && n > 0 {
			return time.Duration(min(n, int64(maxRetryAfter/f.unit))) * f.unit
		}
		if t, err := http.ParseTime(value); err == nil && f.unit == time.Second && t.After(now) {
			return min(t.Sub(now), maxRetryAfter)
		}
	}
	return 0
}

// outcome says what a try tells about the endpoint.
func (p *retryPolicy) outcome(ctx context.Context, s *shot) (o gate.Outcome) {
	resp, err := s.resp, s.err
	if err != nil {
		if _, crashed := errors.AsType[crash](err); crashed || ctx.Err() != nil {
			return o // which says nothing about the endpoint
		}
		o.Kind, o.Failure = gate.Failed, transportCause(err, s.secrets...)
		o.Silent = errors.Is(err, context.DeadlineExceeded)
		if e, ok := errors.AsType[transportError](err); ok && e.begun != nil {
			o.Proves = p.source.recognises(*e.begun)
		}
		return o
	}
	o.Kind = gate.Good
	if a := readAnswer(resp, s.secrets...); p.source.recognises(a) {
		o.Proves = true
	} else {
		o.Foreign, o.Status = true, resp.StatusCode
	}
	again := resp.StatusCode >= 500
	if code := resp.StatusCode; code == http.StatusNotFound || code == http.StatusGone || code == http.StatusRequestTimeout {
		again, _ = p.retriable(ctx, resp, nil)
	}
	switch pause := pauseOf(resp); {
	case pause > 0:
		o.Kind, o.Pause, o.Failure = gate.Throttled, named(pause), statusLine(resp.StatusCode)
	case again:
		o.Kind, o.Failure = gate.Failed, statusLine(resp.StatusCode)
	case o.Foreign:
		o.Failure = statusLine(resp.StatusCode)
	}
	return o
}

// settle gives a turn back with what its try tells about the endpoint, and records that.
func (p *retryPolicy) settle(ctx context.Context, d *dispatch, s *shot) {
	o := p.outcome(ctx, s)
	closed := s.turn.End(o)
	if !closed.IsZero() {
		p.held(closed)
	}
	if o.Failure == "" || ctx.Err() != nil && closed.IsZero() {
		return
	}
	of := []any{"source", p.source.name, "endpoint", p.source.host, "try", d.tries, "failure", o.Failure}
	if closed.IsZero() {
		p.log.behind(slog.LevelDebug, "try failed", of...)
	} else {
		p.log.behind(slog.LevelWarn, "endpoint throttled", append(of, "until", closed.Round(0).UTC())...)
	}
}

// copy makes the request again as it was before the pipeline, for a shot beside the first.
func (d *dispatch) copy(ctx context.Context) (*policy.Request, error) {
	raw := d.original.Clone(context.WithValue(ctx, dispatchKey{}, &dispatch{hedge: true}))
	if d.unsent != nil {
		raw.Body = io.NopCloser(bytes.NewReader(d.unsent))
	}
	req, err := runtime.NewRequestFromRequest(raw)
	if err != nil {
		return nil, fmt.Errorf("the request can't be copied: %w", err)
	}
	return req, nil
}
