package managedidtest

import (
	"context"
	"net"
	"net/http"
	"time"
)

// serving is one listener's life.
type serving struct {
	listener net.Listener
	http     *http.Server
	cancel   context.CancelFunc // of the requests' contexts
	done     chan struct{}      // closed when no more connections are accepted
}

// update makes the listener follow the faults in force.
func (h *host) update() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopTimer()
	if h.closed {
		return
	}
	now := time.Now()
	until, refused := h.state.refusedUntil(now)
	if refused {
		h.refuse()
		if !until.IsZero() {
			h.startTimer(until.Sub(now))
		}
		return
	}
	if h.serving != nil {
		return
	}
	l, err := net.Listen("tcp", h.addr)
	if err != nil { // somebody else has the port for the moment
		h.startTimer(10 * time.Millisecond)
		return
	}
	h.serving = h.serve(l)
}

// startTimer has update called again. The caller holds mu.
func (h *host) startTimer(after time.Duration) {
	h.work.Add(1)
	h.timer = time.AfterFunc(after, func() {
		defer h.work.Done()
		h.update()
	})
}

// stopTimer ends the timer, unless its function has begun and does so itself. The caller holds mu.
func (h *host) stopTimer() {
	if h.timer != nil && h.timer.Stop() {
		h.work.Done()
	}
	h.timer = nil
}

// refuse closes the listener and all connections. The caller holds mu.
func (h *host) refuse() {
	if h.serving == nil {
		return
	}
	h.serving.cancel()
	h.serving.listener.Close()
	<-h.serving.done // from now on http.Server knows all connections
	h.serving.http.Close()
	h.serving = nil
}

// serve accepts connections in a goroutine.
func (h *host) serve(l net.Listener) *serving {
	ctx, cancel := context.WithCancel(context.Background())
	in := &serving{listener: l, cancel: cancel, done: make(chan struct{})}
	in.http = &http.Server{
		Handler:     http.HandlerFunc(h.handle),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				h.work.Add(1)
			case http.StateHijacked, http.StateClosed:
				h.work.Done()
			}
		},
	}
	go func() {
		defer close(in.done)
		in.http.Serve(l)
	}()
	return in
}

// handle counts handlers as well as connections, since a hijacked connection is no longer counted.
func (h *host) handle(w http.ResponseWriter, r *http.Request) {
	h.work.Add(1)
	defer h.work.Done()
	h.handler.ServeHTTP(w, r)
}
