package managedid

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	azruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/managedid/managedid/internal/gate"
)

// dispatch is one pass of a request through the pipeline. It also carries what the retry policy reports to the sender.
type dispatch struct {
	progress *progress     // the progress of the flight
	original *http.Request // the request before the policies
	unsent   []byte        // the body of original
	body     []byte        // the body after the policies that run before the retry policy
	limit    time.Time     // when the flight's time is over
	pipeline azruntime.Pipeline
	oneTime  bool         // it has a key that is valid for one request only
	hedge    bool         // another dispatch's try sent it beside its own request
	running  atomic.Int32 // shots of the pipeline's own request whose transport has not returned

	sent  time.Time // when the shot began that brought the result
	tries int       // shots so far
	began time.Time
}

// progress is the state of a flight's requests. The callers that wait for the flight read it too.
type progress struct {
	ticket    *gate.Ticket
	sent      atomic.Int32 // number of requests
	lastSent  atomic.Int64 // when the last request was sent, as sinceStart gives it
	preparing atomic.Bool  // a callback or a file provides what the request needs
	guests    goroutines
}

// start is when the program began. Times since then use the monotonic clock, so that they can be compared.
var start = time.Now()

func sinceStart(t time.Time) int64 { return int64(t.Sub(start)) }

// effort says how often and how long a request was tried. It is "" for a single try.
func (d *dispatch) effort() string {
	if d == nil || d.tries < 2 {
		return ""
	}
	return fmt.Sprintf(", %d tries in %v", d.tries, time.Since(d.began).Round(time.Second))
}

// dispatchKey is the context key by which the retry policy finds the dispatch of a request.
type dispatchKey struct{}

// readBody returns the body of a request. Each try gets its own reader, because net/http may still read a body after
// its try has ended.
func readBody(req *policy.Request) ([]byte, error) {
	if req.Body() == nil {
		return nil, nil
	}
	if err := req.RewindBody(); err != nil {
		return nil, err
	}
	return io.ReadAll(req.Body())
}

// copy returns the request as it was before the pipeline, for a shot beside the first one.
func (d *dispatch) copy(ctx context.Context) (*policy.Request, error) {
	raw := d.original.Clone(context.WithValue(ctx, dispatchKey{}, &dispatch{hedge: true}))
	if d.unsent != nil {
		raw.Body = io.NopCloser(bytes.NewReader(d.unsent))
	}
	req, err := azruntime.NewRequestFromRequest(raw)
	if err != nil {
		return nil, fmt.Errorf("the request can't be copied: %w", err)
	}
	return req, nil
}

// goroutines are those in which foreign code runs for a request, such as a log listener. This code must not wait for
// the request's own token.
type goroutines struct {
	mu  sync.Mutex
	ids []uint64 // guarded by mu
}

// enter adds the current goroutine. It is removed when the returned function is called.
func (g *goroutines) enter() (leave func()) {
	id := goroutineID()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ids = append(g.ids, id)
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if i := slices.Index(g.ids, id); i >= 0 {
			g.ids = slices.Delete(g.ids, i, i+1)
		}
	}
}

// haveCurrent reports whether the current goroutine is one of them.
func (g *goroutines) haveCurrent() bool {
	id := goroutineID()
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.ids, id)
}

// goroutineID returns the number in the first line of the stack, "goroutine 18 [running]:". azcore gives its listeners
// no context, so only this number tells a listener that requests its own request's token from other callers.
func goroutineID() uint64 {
	var stack [64]byte
	line := bytes.TrimPrefix(stack[:runtime.Stack(stack[:], false)], []byte("goroutine "))
	number, _, _ := bytes.Cut(line, []byte(" "))
	id, _ := strconv.ParseUint(string(number), 10, 64)
	return id
}
