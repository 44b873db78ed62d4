package managedid

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	maxGateWait   = 2 * time.Minute  // nobody waits longer for a gate to open
	maxRetryAfter = 5 * time.Minute  // a longer Retry-After is cut to this
	firstBackOff  = time.Second      // of a 429 without Retry-After; doubles each time
	maxBackOff    = 30 * time.Second // before jitter
)

// endpoint is what the process knows of one endpoint that throttles as a whole: for a managed identity its
// address, for Entra the token URL and the client ID.
type endpoint struct {
	mu       sync.Mutex
	queue    bell // rings when anything below changes; guarded by mu, as is the rest
	news     bell // rings when what callers go by changes: the gate's opening, the presence
	gate     gate
	presence presence
	failure  string // the endpoint's last, for callers who leave without a result; "" after a success
}

// blame says in the error of those who leave without a result what the endpoint's last failure means. The caller holds mu.
func (e *endpoint) blame(failed *AuthenticationFailedError) {
	failed.Reason = ReasonNotReady
	if e.failure == statusLine(http.StatusTooManyRequests) {
		failed.Reason = ReasonThrottled
		if e.gate.opens.After(time.Now()) {
			failed.RetryAfter = e.gate.opens
		}
	}
}

// bell wakes many at once. It is guarded by its owner's lock.
type bell struct{ c chan struct{} }

// watch returns a channel that is closed at the next ring.
func (b *bell) watch() <-chan struct{} {
	if b.c == nil {
		b.c = make(chan struct{})
	}
	return b.c
}

func (b *bell) ring() {
	if b.c != nil {
		close(b.c)
		b.c = nil
	}
}

// update changes the endpoint's state and wakes those whom the change concerns.
func (e *endpoint) update(change func(now time.Time)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now, opens, proven := time.Now(), e.gate.opens, e.presence.proven
	change(now)
	e.queue.ring()
	if !proven || e.gate.opens != opens || now.Before(opens) { // the last: a try that a caller relied on may have ended
		e.news.ring()
	}
}

// limits of an endpoint; zero means none.
type limits struct{ parallel, perSecond int }

// gate decides when a request may be sent. Its methods are pure but for jitter, its fields guarded by endpoint.mu.
type gate struct {
	limits   limits
	opens    time.Time   // nothing is sent before; zero when never closed
	trusted  bool        // has answered since it was last closed; before that, one request goes alone
	closings int         // in all, to tell answers to requests from before the last closing
	streak   int         // closings in a row
	underway int         // requests now
	ended    []time.Time // of requests that ended within the last second, oldest first
}

// admit says whether a request may begin now; if not, until says when to ask again, zero meaning at the next change.
func (g *gate) admit(now time.Time) (until time.Time, ok bool) {
	if now.Before(g.opens) {
		return g.opens, false
	}
	if g.underway > 0 && (!g.trusted || g.limits.parallel > 0 && g.underway >= g.limits.parallel) {
		return time.Time{}, false
	}
	// A request occupies its place in the rate until a second after its end, since when within its time
	// the endpoint counted it can't be known.
	g.ended = slices.DeleteFunc(g.ended, func(t time.Time) bool { return !now.Before(t.Add(time.Second)) })
	if g.limits.perSecond > 0 && g.underway+len(g.ended) >= g.limits.perSecond {
		if len(g.ended) == 0 {
			return time.Time{}, false
		}
		return g.ended[0].Add(time.Second), false
	}
	g.underway++
	return time.Time{}, true
}

// end takes back a request's place. closings is the count from before it was sent; resp is nil without an answer.
func (g *gate) end(now time.Time, closings int, resp *http.Response) {
	g.underway--
	if g.limits.perSecond > 0 {
		g.ended = append(g.ended, now)
	}
	if resp == nil {
		return
	}
	wait := retryAfter(resp.Header, now)
	if resp.StatusCode >= 500 && resp.StatusCode != http.StatusServiceUnavailable {
		wait = min(wait, maxGateWait) // what isn't about throttling fails nobody who can wait
	}
	switch current := closings == g.closings; {
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode >= 500 && wait > 0:
		if current { // else it answers a request from before a closing that says the same
			g.closings++
			g.trusted = false
			if wait == 0 {
				wait = backOff(g.streak)
			}
			g.streak++
		}
		if opens := now.Add(wait); opens.After(g.opens) {
			g.opens = opens
		}
	case resp.StatusCode != http.StatusServiceUnavailable && current:
		g.trusted, g.streak = true, 0
	}
}

// backOff is the pause after a 429 without Retry-After: 1, 2, 4, … 30 s, times 0.8 to 1.3.
func backOff(streak int) time.Duration {
	d := min(firstBackOff<<min(streak, 10), maxBackOff)
	return time.Duration(float64(d) * (0.8 + rand.Float64()/2))
}

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

// enter waits until a request may be sent and takes its place in the gate, which end gives back.
func (e *endpoint) enter(ctx context.Context, who string) (closings int, err error) {
	giveUp := time.Now().Add(maxGateWait)
	if d, ok := ctx.Deadline(); ok && d.Before(giveUp) {
		giveUp = d
	}
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		e.mu.Lock()
		now := time.Now()
		until, ok := e.gate.admit(now)
		closings, opens := e.gate.closings, e.gate.opens
		var changed <-chan struct{}
		if !ok {
			changed = e.queue.watch()
		}
		e.mu.Unlock()
		switch {
		case ok:
			return closings, nil
		case opens.After(giveUp) && opens.After(now): // else it is open, and another's turn
			return 0, throttled(who, opens)
		}
		wait(ctx, nil, changed, until)
	}
}

func throttled(who string, opens time.Time) error {
	return &AuthenticationFailedError{Reason: ReasonThrottled, RetryAfter: opens,
		message: who + ": throttled by the endpoint until after the caller's deadline, or for over two minutes; RetryAfter says until when"}
}

// wait returns when ctx has ended, done or changed is closed, or until has come; zero means never.
func wait(ctx context.Context, done, changed <-chan struct{}, until time.Time) {
	var timer <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
	case <-done:
	case <-changed:
	case <-timer:
	}
}
