package managedid

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/managedid/managedid/internal/gate"
	"github.com/managedid/managedid/internal/tokens"
)

// errAgain says that a flight ended without having done anything for the caller.
var errAgain = errors.New("the flight made no try since the caller came")

// errWithin is the error of a guest who waits for itself.
func (c *credential) errWithin() error {
	return &AuthenticationFailedError{Reason: ReasonConfiguration, message: c.who +
		": the token is asked for by a log listener, policy or tracer that runs for the very request for it; get a token for these from a credential of their own"}
}

// await waits for the flight as long as the caller has reason to. t is the token to fall back on, or nil; came is
// when the caller came.
func (c *credential) await(ctx context.Context, came time.Time, own *request, e *tokens.Entry, f *tokens.Flight, t *tokens.Token) (got *tokens.Token, err error) {
	r := f.Request.(*request)
	defer func() {
		if other := e.Usable(time.Now(), own); err != nil && other != nil { // the flight of a challenge has brought it meanwhile
			got, err = other, nil
		}
	}()
	caller := own.first
	if r != own {
		if r.isMine() {
			return t, c.errWithin()
		}
		deadline, _ := ctx.Deadline()
		caller = r.ticket.Join(deadline)
	}
	absent := false
	if caller != nil {
		defer func() {
			if nobody := caller.Leave(); absent && nobody {
				r.dropped.Store(true)
				f.Cancel()
			}
		}()
	}
	for {
		news, status := c.gate.Watch() // before the rest is looked at, so that no change is missed
		now := time.Now()
		valid := t.Freshness(now) != tokens.Expired
		select {
		case <-f.Done():
			return c.landed(now, came, own, f, t)
		default:
		}
		var until time.Time
		if valid {
			until = earlier(f.Began.Add(tokens.UrgentWait), now.Add(t.Left(now)-tokens.LastMoment))
			if ctx.Err() != nil || !now.Before(until) || now.Before(status.Opens) {
				return t, nil
			}
		} else if until, err = c.outlook(ctx, came, r, status); err != nil {
			absent = ctx.Err() == nil && ReasonOf(err) == ReasonAbsent
			c.miss(ctx, r, err)
			return nil, err
		}
		wait(ctx, f.Done(), news, until)
	}
}

// landed is what a flight's end means to a caller.
func (c *credential) landed(now, came time.Time, own *request, f *tokens.Flight, t *tokens.Token) (*tokens.Token, error) {
	got, err := f.Result()
	switch r := f.Request.(*request); {
	case got.Freshness(now) != tokens.Expired:
		return got, nil
	case t.Freshness(now) != tokens.Expired:
		return t, nil
	case err == nil:
		return nil, &AuthenticationFailedError{Reason: ReasonMalformedAnswer, message: c.who + ": the token expired on its way"}
	case r != own && (errors.Is(err, gate.ErrAbandoned) || r.tried.Load() < sinceStart(came) && !ReasonOf(err).final()):
		return nil, errAgain
	}
	return nil, err
}

// start is when the program began. Times since then are the monotonic clock's, and order what happened.
var start = time.Now()

func sinceStart(t time.Time) int64 { return int64(t.Sub(start)) }

// outlook tells a caller without a token why waiting is in vain, or when to look again; zero means at the next
// change. r is what the caller waits for, or nil.
func (c *credential) outlook(ctx context.Context, came time.Time, r *request, status gate.Status) (until time.Time, err error) {
	if ctx.Err() != nil {
		return until, c.left(ctx, r, status)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = came.Add(gate.Patience)
	}
	if status.Opens.After(deadline) && (r == nil || !r.ticket.OnWire()) {
		return until, throttled(c.who, status.Opens)
	}
	if !c.chained {
		return until, nil
	}
	if a := status.Absence; a != nil && a.Foreign {
		return until, notRecognised(c.who, c.source, a.Status)
	} else if a != nil {
		return until, absent(c.who, c.source, a.Cause, a.Silent)
	}
	return status.Look, nil
}

// left is the error of a caller whose context ended first. It says what was going on.
func (c *credential) left(ctx context.Context, r *request, status gate.Status) error {
	e := &AuthenticationFailedError{message: c.who + ": no token before the caller's context ended", cause: ctx.Err()}
	if r != nil {
		if said := c.meanwhile(r, status, e); len(said) > 0 {
			e.message += " (" + strings.Join(said, "; ") + ")"
		}
	}
	e.message += ": " + ctx.Err().Error()
	return e
}

// meanwhile says what was going on while a caller waited, and sets the error's reason.
func (c *credential) meanwhile(r *request, status gate.Status, e *AuthenticationFailedError) (said []string) {
	w, now := r.ticket.Waiting(), time.Now()
	switch {
	case r.preparing.Load() && c.source.preparing != nil:
		text, reason := c.source.preparing()
		said, e.Reason = append(said, text), reason
	case !w.OnWire.IsZero():
		if silent := now.Sub(w.OnWire).Round(time.Second); silent > 0 {
			said, e.Reason = append(said, fmt.Sprintf("nothing has answered at %s for %v", c.source.host, silent)), ReasonNotReady
		}
	case w.Ahead >= 0 && now.Before(status.Opens):
		said = append(said, "the endpoint asked for a pause")
		e.Reason, e.RetryAfter = ReasonThrottled, status.Opens
	case w.Ahead >= 0 && (w.Cause == gate.Limited || w.Cause == gate.Crowded):
		said, e.Reason = append(said, fmt.Sprintf("%s ahead at the endpoint's limit of %d a second", were(w.Ahead), c.source.limits.PerSecond)), ReasonThrottled
	case w.Ahead > 0:
		said, e.Reason = append(said, were(w.Ahead)+" ahead"), ReasonNotReady
	case w.Cause == gate.Unsure:
		said, e.Reason = append(said, "another request to the endpoint is late"), ReasonNotReady
	}
	if status.Failure != "" {
		said = append(said, "the endpoint's last failure: "+status.Failure)
		c.blame(e, status)
	}
	if status.Absence != nil && !status.Proven && c.source.recognise != nil && !c.source.announced {
		e.Reason = ReasonAbsent
	}
	return said
}

func were(n int) string {
	if n == 1 {
		return "1 request was"
	}
	return fmt.Sprintf("%d requests were", n)
}

// blame says in an error what the endpoint's last failure means.
func (c *credential) blame(e *AuthenticationFailedError, status gate.Status) {
	if e.Reason == "" {
		e.Reason = ReasonNotReady
	}
	if status.Failure == statusLine(429) {
		e.Reason = ReasonThrottled
		e.RetryAfter = status.Opens
	}
}

// miss puts into a record, once a flight, that a caller left without a token, where it is known why there was none yet.
func (c *credential) miss(ctx context.Context, r *request, err error) {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) && ReasonOf(err) != "" && r.missed.CompareAndSwap(false, true) {
		c.log.behind(slog.LevelWarn, "caller left without a token",
			append(c.attributes(), "scope", r.scope, "reason", string(ReasonOf(err)), "error", err.Error())...)
	}
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
