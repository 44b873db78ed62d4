package managedidtest

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"time"
)

// port is one listening address of a host. host.mu guards serving and timer.
type port struct {
	addr   string      // of the first listener; later listeners use the same address
	config *tls.Config // nil: without TLS

	serving *serving // nil: connections are refused
	timer   *time.Timer
}

func (p *port) secure() bool { return p.config != nil }

// serving is one listener and its HTTP server.
type serving struct {
	listener net.Listener
	http     *http.Server
	cancel   context.CancelFunc // cancels the requests' contexts
	done     chan struct{}      // closed when the listener accepts no more connections
}

// update opens and closes the listeners as the current Refused faults require.
func (h *host) update() {
	h.mu.Lock()
	ports := slices.Clone(h.ports)
	h.mu.Unlock()
	for _, p := range ports {
		h.updatePort(p)
	}
}

// updatePort opens or closes the listener of one port. It schedules the next call when a fault ends later.
func (h *host) updatePort(p *port) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopTimer(p)
	if h.closed {
		return
	}
	now := time.Now()
	until, refused := h.state.refusedUntil(now, p.secure())
	if refused {
		p.refuse()
		if !until.IsZero() {
			h.startTimer(p, until.Sub(now))
		}
		return
	}
	if p.serving != nil {
		return
	}
	l, err := net.Listen("tcp", p.addr)
	// Another process may have taken the port for a moment.
	if err != nil { // somebody else has the port for the moment
		h.startTimer(p, 10*time.Millisecond)
		return
	}
	p.serving = h.serve(l, p.config)
}

// startTimer calls updatePort again after the duration. The caller holds mu.
func (h *host) startTimer(p *port, after time.Duration) {
	h.work.Add(1)
	p.timer = time.AfterFunc(after, func() {
		defer h.work.Done()
		h.updatePort(p)
	})
}

// stopTimer stops the timer. If its function has already started, that function completes. The caller holds mu.
func (h *host) stopTimer(p *port) {
	if p.timer != nil && p.timer.Stop() {
		h.work.Done()
	}
	p.timer = nil
}

// refuse closes the listener and all connections. The caller holds the host's mu.
func (p *port) refuse() {
	if p.serving == nil {
		return
	}
	p.serving.cancel()
	p.serving.listener.Close()
	<-p.serving.done // from here on, http.Server knows all connections
	p.serving.http.Close()
	p.serving = nil
}

// serve accepts connections in a new goroutine.
func (h *host) serve(l net.Listener, config *tls.Config) *serving {
	ctx, cancel := context.WithCancel(context.Background())
	s := &serving{listener: l, cancel: cancel, done: make(chan struct{})}
	s.http = &http.Server{
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
	if config != nil {
		l = tls.NewListener(l, config) // HTTP/1.1 only, so that a connection can be reset
	}
	go func() {
		defer close(s.done)
		s.http.Serve(l)
	}()
	return s
}

// handle counts running handlers. The count of connections is not enough, since it does not include hijacked
// connections.
func (h *host) handle(w http.ResponseWriter, r *http.Request) {
	h.work.Add(1)
	defer h.work.Done()
	h.handler.ServeHTTP(w, r)
}
