package managedid

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid/internal/gate"
)

const (
	hedgeAfter       = 3 * time.Second         // without an answer, a second shot goes out beside the first
	hedgeAgain       = 1500 * time.Millisecond // the same in place of the second, for a caller that has come since
	hedgeUnconnected = 500 * time.Millisecond  // the same beside a first without a connection, on the host
)

// errEvicted says that a try gave up its place and must be made again.
var errEvicted = errors.New("the try gave up its place")

// try is one try of a request. It has an older shot and, if that has no answer for long, a younger one beside it. The
// older one goes on, because the endpoint may be slow. The younger one is replaced, because the endpoint may have been
// down. The first answer counts.
type try struct {
	*retryPolicy
	ctx            context.Context
	dispatch       *dispatch
	older, younger *shot
	retriesLeft    int32
	ended          chan *shot
	over           chan struct{} // closed when nobody reads ended any more
	// entered receives the turn for another shot, or nil if there is none. It is nil while no turn is wanted.
	entered  chan *gate.Turn
	withdraw context.CancelFunc
}

// try makes one try of a request, and ends its turn. left is the number of retries that remain, which try may reduce.
func (p *retryPolicy) try(
	ctx context.Context, req *policy.Request, d *dispatch, turn *gate.Turn, left *int32,
) (*http.Response, error) {
	t := &try{retryPolicy: p, ctx: ctx, dispatch: d, retriesLeft: *left, ended: make(chan *shot),
		over: make(chan struct{})}
	defer func() {
		*left = t.retriesLeft
		t.stop()
	}()
	var err error
	if t.older, err = t.shoot(turn, req); err != nil {
		turn.End(gate.Outcome{})
		return nil, err
	}
	return t.run()
}

// run waits for the result of the shots.
func (t *try) run() (*http.Response, error) {
	hedge := time.NewTimer(t.patience())
	defer hedge.Stop()
	var giveUp <-chan time.Time // set when no retries remain
	for {
		select {
		case <-t.ctx.Done():
			return nil, t.ctx.Err()
		case s := <-t.ended:
			switch {
			case s != t.older && s != t.younger: // it was dropped
			case t.decides(s):
				return t.finish(s)
			default:
				t.lose(s)
			}
		case <-t.older.limit.Done():
			if t.younger == nil {
				return t.finish(t.unanswered(t.older))
			}
			t.lose(t.unanswered(t.older)) // the younger shot goes on as the next try
			if t.retriesLeft == 0 {
				giveUp = time.After(time.Until(t.older.began.Add(hedgeAgain)))
			} else {
				t.retriesLeft--
			}
		case <-giveUp:
			return t.finish(t.unanswered(t.older))
		case <-limitOf(t.younger):
			t.lose(t.unanswered(t.younger))
		case <-t.older.turn.Evicted:
			if t.younger == nil {
				return nil, errEvicted
			}
			t.drop(t.older)
		case <-evictedOf(t.younger):
			t.drop(t.younger)
		case <-hedge.C:
			if giveUp != nil {
				continue
			} else if t.patience() <= 0 {
				t.enter()
			} else { // new callers may come, which changes patience
				hedge.Reset(min(t.patience(), hedgeUnconnected))
			}
		case turn := <-t.entered:
			t.entered = nil
			if err := t.second(turn); err != nil {
				return nil, err
			}
			hedge.Reset(hedgeUnconnected)
		}
	}
}

// decides reports whether the result of a shot is the result of the try.
func (t *try) decides(s *shot) bool {
	if s.err == nil || t.other(s) == nil {
		return true
	}
	again, _ := t.retriable(t.ctx, nil, s.err)
	return !again
}

// patience returns how long to wait before another shot.
func (t *try) patience() time.Duration {
	switch {
	case t.younger != nil && t.dispatch.progress.ticket.Untried(): // the endpoint has been silent for long
		return max(time.Until(t.younger.began.Add(hedgeAgain)), 0)
	case t.younger != nil:
		return time.Until(t.younger.began.Add(hedgeAfter))
	case t.source.limits.Near && t.gate.Status().Shown && !t.older.connected.Load():
		return time.Until(t.older.began.Add(hedgeUnconnected))
	}
	return time.Until(t.older.began.Add(hedgeAfter))
}

// enter asks the gate for a turn for another shot, if the request allows one.
func (t *try) enter() {
	if t.dispatch.oneTime || t.options.MaxRetries == 0 || t.entered != nil {
		return
	}
	ctx, cancel := context.WithCancel(t.ctx)
	entered := make(chan *gate.Turn, 1)
	t.entered, t.withdraw = entered, cancel
	go func() {
		turn, _ := t.dispatch.progress.ticket.Enter(ctx, gate.Rest{Pace: t.pace})
		entered <- turn
	}()
}

// second sends another shot. It replaces the younger one, if there are two.
func (t *try) second(turn *gate.Turn) (err error) {
	t.withdraw()
	if turn == nil {
		return nil // nobody waits at present
	}
	if t.younger != nil {
		t.drop(t.younger)
	}
	if t.younger, err = t.shoot(turn, nil); err != nil {
		turn.End(gate.Outcome{})
	}
	return err
}

func (t *try) other(s *shot) *shot {
	if s == t.older {
		return t.younger
	}
	return t.older
}

// unanswered returns the result of a shot whose time is over, even if its transport still runs.
func (t *try) unanswered(s *shot) *shot {
	err := transportError{err: context.DeadlineExceeded, cause: noAnswerInTime, begun: s.begun.Load()}
	return &shot{turn: s.turn, began: s.began, cancel: s.cancel, err: err}
}

// lose settles a failed shot, and goes on with the other one.
func (t *try) lose(s *shot) {
	t.settle(t.ctx, t.dispatch, s)
	t.drop(s)
}

// drop cancels one of two shots.
func (t *try) drop(s *shot) {
	s.cancel()
	s.turn.End(gate.Outcome{})
	if s.turn == t.older.turn {
		t.older = t.younger
	}
	t.younger = nil
}

// finish returns the result of a shot as that of the try.
func (t *try) finish(s *shot) (*http.Response, error) {
	t.unhedge() // first, because the end of this turn might otherwise start a useless one
	t.settle(t.ctx, t.dispatch, s)
	t.dispatch.sent = s.began
	return s.resp, s.err
}

// stop cancels the shots that are still under way. If another answer has come that asks for a pause, the pause holds.
func (t *try) stop() {
	select {
	case s := <-t.ended:
		if s == t.older || s == t.younger {
			t.settle(t.ctx, t.dispatch, s)
		}
	default:
	}
	close(t.over)
	for _, s := range []*shot{t.older, t.younger} {
		if s != nil {
			s.cancel()
			s.turn.End(gate.Outcome{})
		}
	}
	t.unhedge()
}

// unhedge withdraws the wish for another turn.
func (t *try) unhedge() {
	if t.entered == nil {
		return
	}
	t.withdraw()
	if turn := <-t.entered; turn != nil {
		turn.End(gate.Outcome{})
	}
	t.entered = nil
}
