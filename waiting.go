package managedid

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/managedid/managedid/internal/gate"
	"github.com/managedid/managedid/internal/tokens"
)

// errAgain says that a flight ended without a try since the caller came, so the caller joins again.
var errAgain = errors.New("the flight made no try since the caller came")

// claimsUnsent replaces every challenge for a source whose requests don't carry the claims.
const claimsUnsent = "unsent"

// newRequest returns the request of a caller that comes now.
func newRequest(ctx context.Context, by *requester, chained bool, a tokenParams, keep func(until time.Time)) *request {
	r := &request{requester: by, tokenParams: a, challenge: a.claims, chained: chained, came: time.Now(), keep: keep}
	if a.claims != "" && !by.source.sendsClaims {
		r.challenge = claimsUnsent
	}
	deadline, _ := ctx.Deadline()
	r.ticket, r.caller = by.gate.Ticket(deadline)
	r.lastSent.Store(math.MinInt64)
	return r
}

// errWithin returns the error for a guest that would wait for itself.
func (r *request) errWithin() error {
	return &AuthenticationFailedError{Reason: ReasonConfiguration, message: r.who +
		": the token is asked for by a log listener, policy or tracer that runs for the very request for it; get a " +
		"token for these from a credential of their own"}
}

// join returns the token from its entry, or waits for a flight.
func (r *request) join(ctx context.Context, e *tokens.Entry) (*tokens.Token, error) {
	if e.Usable(time.Now(), r) == nil {
		var underway *request
		if f := e.Underway(r); f != nil {
			underway = f.Request.(*request)
		}
		if _, err := r.outlook(ctx, underway, r.gate.Status()); err != nil {
			return nil, err
		}
	}
	t, f, err := e.Join(time.Now(), r)
	if f == nil || err != nil {
		return t, err
	}
	return r.await(ctx, e, f, t)
}

// await waits for the flight as long as that makes sense for the caller. t is the token to fall back on, or nil.
func (r *request) await(
	ctx context.Context, e *tokens.Entry, f *tokens.Flight, t *tokens.Token,
) (got *tokens.Token, err error) {
	underway := f.Request.(*request)
	defer func() {
		if other := e.Usable(time.Now(), r); err != nil && other != nil { // another flight brought it
			got, err = other, nil
		}
	}()
	caller := r.caller
	if underway != r {
		if underway.guests.haveCurrent() {
			return t, r.errWithin()
		}
		deadline, _ := ctx.Deadline()
		caller = underway.ticket.Join(deadline)
	}
	absent := false
	if caller != nil {
		defer func() {
			if nobody := caller.Leave(); absent && nobody {
				underway.dropped.Store(true)
				f.Cancel()
			}
		}()
	}
	for {
		news, status := r.gate.Watch() // first, so that no later change is missed
		now := time.Now()
		valid := t.Freshness(now) != tokens.Expired
		select {
		case <-f.Done():
			return r.landed(now, f, t)
		default:
		}
		var until time.Time
		if valid {
			until = first(f.Began.Add(tokens.UrgentWait), now.Add(t.Left(now)-tokens.LastMoment))
			if ctx.Err() != nil || !now.Before(until) || now.Before(status.Opens) {
				return t, nil
			}
		} else if until, err = r.outlook(ctx, underway, status); err != nil {
			absent = ctx.Err() == nil && ReasonOf(err) == ReasonAbsent
			underway.miss(ctx, err)
			return nil, err
		}
		wait(ctx, f.Done(), news, until)
	}
}

// landed returns the result of a flight for one caller.
func (r *request) landed(now time.Time, f *tokens.Flight, t *tokens.Token) (*tokens.Token, error) {
	got, err := f.Result()
	switch underway := f.Request.(*request); {
	case got.Freshness(now) != tokens.Expired:
		return got, nil
	case t.Freshness(now) != tokens.Expired:
		return t, nil
	case err == nil:
		return nil, &AuthenticationFailedError{Reason: ReasonMalformedAnswer,
			message: r.who + ": the token expired on its way"}
	case underway != r && (errors.Is(err, gate.ErrAbandoned) || underway.lastSent.Load() < sinceStart(r.came) &&
		!ReasonOf(err).final()):
		return nil, errAgain
	}
	return nil, err
}

// outlook returns an error if a caller without a token waits in vain. Otherwise it returns when to look again, and zero
// means at the next change. underway is the request that the caller waits for, or nil.
func (r *request) outlook(ctx context.Context, underway *request, status gate.Status) (until time.Time, err error) {
	if ctx.Err() != nil {
		return until, r.contextEnded(ctx, underway, status)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = r.came.Add(gate.Patience)
	}
	if status.Opens.After(deadline) && (underway == nil || !underway.ticket.OnWire()) {
		return until, throttled(r.who, status.Opens)
	}
	if !r.chained {
		return until, nil
	}
	if a := status.Absence; a != nil && a.Foreign {
		return until, r.notRecognised(a.Status)
	} else if a != nil {
		return until, r.absent(a.Cause, a.Silent)
	}
	return status.Look, nil
}

// contextEnded returns the error for a caller whose context ended before there was a token. It says what happened
// meanwhile.
func (r *request) contextEnded(ctx context.Context, underway *request, status gate.Status) error {
	e := &AuthenticationFailedError{message: r.who + ": no token before the caller's context ended", cause: ctx.Err()}
	if underway != nil {
		if reports := r.meanwhile(&underway.progress, status, e); len(reports) > 0 {
			e.message += " (" + strings.Join(reports, "; ") + ")"
		}
	}
	e.message += ": " + ctx.Err().Error()
	return e
}

// meanwhile says what happened while a caller waited, and sets the Reason of the error.
func (r *requester) meanwhile(p *progress, status gate.Status, e *AuthenticationFailedError) (reports []string) {
	w, now := p.ticket.Waiting(), time.Now()
	switch {
	case p.preparing.Load() && r.source.preparing != nil:
		activity, reason := r.source.preparing()
		reports, e.Reason = append(reports, activity), reason
	case !w.OnWire.IsZero():
		if silent := now.Sub(w.OnWire).Round(time.Second); silent > 0 {
			reports, e.Reason = append(reports,
				fmt.Sprintf("nothing has answered at %s for %v", r.source.host, silent)), ReasonNotReady
		}
	case w.Ahead >= 0 && now.Before(status.Opens):
		reports = append(reports, "the endpoint asked for a pause")
		e.Reason, e.RetryAfter = ReasonThrottled, status.Opens
	case w.Ahead >= 0 && (w.Cause == gate.Limited || w.Cause == gate.Crowded):
		reports, e.Reason = append(reports, fmt.Sprintf("%s ahead at the endpoint's limit of %d a second",
			were(w.Ahead), r.source.limits.PerSecond)), ReasonThrottled
	case w.Ahead > 0:
		reports, e.Reason = append(reports, were(w.Ahead)+" ahead"), ReasonNotReady
	case w.Cause == gate.Unsure:
		reports, e.Reason = append(reports, "another request to the endpoint is late"), ReasonNotReady
	}
	if status.Failure != "" {
		reports = append(reports, "the endpoint's last failure: "+status.Failure)
		r.blame(e, status)
	}
	if status.Absence != nil && !status.Proven && r.source.recognise != nil && !r.source.announced {
		e.Reason = ReasonAbsent
	}
	return reports
}

func were(n int) string {
	if n == 1 {
		return "1 request was"
	}
	return fmt.Sprintf("%d requests were", n)
}

// miss writes a record that a caller left without a token, if the reason is known. It writes one record for each
// flight.
func (r *request) miss(ctx context.Context, err error) {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) && ReasonOf(err) != "" && r.missed.CompareAndSwap(false, true) {
		r.log.behind(slog.LevelWarn, "caller left without a token",
			append(r.attributes(), "scope", r.scope, "reason", string(ReasonOf(err)), "error", err.Error())...)
	}
}

// wait returns when ctx ends, when done or changed is closed, or at the time until. A zero until means never.
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
