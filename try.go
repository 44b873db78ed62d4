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
	hedgeAfter       = 3 * time.Second         // without an answer, a second request goes out beside the first
	hedgeAgain       = 1500 * time.Millisecond // likewise in the place of the second, for a caller who has come since
	hedgeUnconnected = 500 * time.Millisecond  // likewise beside the first without a connection to what is on the host, or not at all
)

// errEvicted says that a try had to give up its place, and is to be made again.
var errEvicted = errors.New("the try gave up its place")

// try is one try of a request: the older shot and, where that has no answer for long, a younger one beside it. The
// older goes on, in case the endpoint is slow; the younger is replaced, in case it was down. The first answer counts.
type try struct {
	*retryPolicy
	ctx            context.Context
	dispatch       *dispatch
	older, younger *shot
	left           int32 // retries
	ended          chan *shot
	over           chan struct{}   // closed when ended is no longer read
	entered        chan *gate.Turn // the turn for another shot, or nil where there is none; nil: none is wanted
	withdraw       context.CancelFunc
}

// try sends a request once, and gives its turn back. left is how many retries there are.
func (p *retryPolicy) try(ctx context.Context, req *policy.Request, d *dispatch, turn *gate.Turn, left *int32) (*http.Response, error) {
	t := &try{retryPolicy: p, ctx: ctx, dispatch: d, left: *left, ended: make(chan *shot), over: make(chan struct{})}
	defer func() {
		*left = t.left
		t.stop()
	}()
	var err error
	if t.older, err = t.shoot(turn, req); err != nil {
		turn.End(gate.Outcome{})
		return nil, err
	}
	return t.run()
}

// run waits for what comes of the shots.
func (t *try) run() (*http.Response, error) {
	hedge := time.NewTimer(t.patience())
	defer hedge.Stop()
	var giveUp <-chan time.Time // when there are no more retries
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
			t.lose(t.unanswered(t.older)) // the younger goes on as the next try
			if t.left == 0 {
				giveUp = time.After(time.Until(t.older.began.Add(hedgeAgain)))
			} else {
				t.left--
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
			} else { // callers may come
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

// decides tells whether what came of a shot is what comes of the try.
func (t *try) decides(s *shot) bool {
	if s.err == nil || t.other(s) == nil {
		return true
	}
	again, _ := t.retriable(t.ctx, nil, s.err)
	return !again
}

// patience is how long until another shot is wanted.
func (t *try) patience() time.Duration {
	switch {
	case t.younger != nil && t.dispatch.request.ticket.Untried(): // at an endpoint that has been silent for long
		return max(time.Until(t.younger.began.Add(hedgeAgain)), 0)
	case t.younger != nil:
		return time.Until(t.younger.began.Add(hedgeAfter))
	case t.source.limits.Near && t.gate.Status().Shown && !t.older.connected.Load():
		return time.Until(t.older.began.Add(hedgeUnconnected))
	}
	return time.Until(t.older.began.Add(hedgeAfter))
}

// enter asks the gate for a turn for another shot, where there may be one.
func (t *try) enter() {
	if t.dispatch.oneTime || t.options.MaxRetries == 0 || t.entered != nil {
		return
	}
	ctx, cancel := context.WithCancel(t.ctx)
	entered := make(chan *gate.Turn, 1)
	t.entered, t.withdraw = entered, cancel
	go func() {
		turn, _ := t.dispatch.request.ticket.Enter(ctx, gate.Rest{Pace: t.pace})
		entered <- turn
	}()
}

// second sends another shot, in the place of the younger where there are two.
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

// unanswered is a shot whose time is over, whatever its transport does.
func (t *try) unanswered(s *shot) *shot {
	err := transportError{err: context.DeadlineExceeded, cause: noAnswerInTime, begun: s.begun.Load()}
	return &shot{turn: s.turn, began: s.began, cancel: s.cancel, err: err}
}

// lose goes on with the other of two shots.
func (t *try) lose(s *shot) {
	t.settle(t.ctx, t.dispatch, s)
	t.drop(s)
}

// drop forgets one of two shots.
func (t *try) drop(s *shot) {
	s.cancel()
	s.turn.End(gate.Outcome{})
	if s.turn == t.older.turn {
		t.older = t.younger
	}
	t.younger = nil
}

// finish returns what came of a shot.
func (t *try) finish(s *shot) (*http.Response, error) {
	t.unhedge() // first, lest the turn that ends leads to one for nothing
	t.settle(t.ctx, t.dispatch, s)
	t.dispatch.sent = s.began
	return s.resp, s.err
}

// stop ends what is still under way. A pause that the other answer asks for holds, if that has come too.
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

// unhedge wants no turn for another shot any more.
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
