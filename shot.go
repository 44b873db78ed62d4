package managedid

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptrace"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"

	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/internal/gate"
)

// shot is one request on the wire. Its goroutine ends when the transport returns, however late.
type shot struct {
	turn *gate.Turn
	// secrets are those of the request. They are set at its end, because policies and the transport may change it.
	secrets   []string
	began     time.Time
	connected atomic.Bool
	begun     atomic.Pointer[answer.Answer] // the head of the answer, once it has arrived
	limit     context.Context
	cancel    context.CancelFunc
	resp      *http.Response
	err       error
}

func limitOf(s *shot) <-chan struct{} {
	if s == nil {
		return nil
	}
	return s.limit.Done()
}

func evictedOf(s *shot) <-chan struct{} {
	if s == nil {
		return nil
	}
	return s.turn.Evicted
}

// shoot sends the pipeline's own request, or a copy of the original request if own is nil.
func (t *try) shoot(turn *gate.Turn, own *policy.Request) (*shot, error) {
	s := &shot{turn: turn, began: time.Now()}
	if t.options.TryTimeout > 0 {
		s.limit, s.cancel = context.WithTimeout(t.ctx, t.options.TryTimeout)
	} else {
		s.limit, s.cancel = context.WithCancel(t.ctx)
	}
	var crashed error
	ctx := httptrace.WithClientTrace(context.WithValue(withCrashed(unshared{s.limit}, &crashed), begunKey{}, &s.begun),
		&httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
			s.connected.Store(true)
			turn.Connected()
		}})
	d := t.dispatch
	if d.running.Load() > 0 && d.original != nil {
		own = nil // clones share azcore's values, which are not safe for concurrent use
	}
	var send *policy.Request
	var err error
	if own != nil {
		send, err = t.sender(ctx, own)
	} else {
		send, err = d.copy(ctx)
	}
	if err != nil {
		s.cancel()
		return nil, err
	}
	d.tries++
	if own != nil {
		d.running.Add(1)
	}
	d.progress.sent.Add(1)
	d.progress.lastSent.Store(sinceStart(s.began))
	go func() {
		defer d.progress.guests.enter()()
		s.err = crash{"the transport or a policy"} // the error if the guest doesn't return
		defer func() {
			if crashed != nil {
				s.resp, s.err = nil, crashed
			}
			if own != nil {
				d.running.Add(-1)
			}
			select {
			case t.ended <- s:
			case <-t.over:
			}
		}()
		s.resp, s.err = guard(t.log, listening, &crashed, func() (*http.Response, error) {
			var resp *http.Response
			var err error
			if own != nil {
				resp, err = send.Next()
			} else {
				resp, err = d.pipeline.Do(send)
			}
			if err != nil {
				return nil, err
			}
			return download(resp, send.Raw()) // a policy of the user may return an answer whose body is not read
		})
		s.secrets = secrets(send.Raw())
	}()
	return s, nil
}

// unshared hides a value that azcore's spans share with the spans within them: the URL that the status of a span must
// not quote. azcore says of it "must not access it concurrently", but two shots would. Without it, the span of each
// shot has a value of its own.
type unshared struct{ context.Context }

func (c unshared) Value(key any) any {
	if t := reflect.TypeOf(key); t != nil && t.PkgPath() == azcoreSanitizer {
		return nil
	}
	return c.Context.Value(key)
}

const azcoreSanitizer = "github.com/Azure/azure-sdk-for-go/sdk/azcore/internal/sanitizer"

// sender returns the request of one shot, with its own body. A transport that ignores its context may still read the
// body of an earlier shot.
func (t *try) sender(ctx context.Context, own *policy.Request) (*policy.Request, error) {
	req := own.Clone(ctx)
	if t.dispatch.body == nil {
		return req, nil
	}
	return req, req.SetBody(streaming.NopCloser(bytes.NewReader(t.dispatch.body)), req.Raw().Header.Get("Content-Type"))
}
