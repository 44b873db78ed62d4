package managedidtest

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"time"
)

// port is one address of a host. host.mu guards what changes.
type port struct {
	addr   string      // of the first listener, so that later ones are the same
	config *tls.Config // nil: in clear

	serving *serving // nil: refusing
	timer   *time.Timer
}

func (p *port) secure() bool { return p.config != nil }

// serving is one listener's life.
type serving struct {
	listener net.Listener
	http     *http.Server
	cancel   context.CancelFunc // of the requests' contexts
	done     chan struct{}      // closed when no more connections are accepted
}

// update makes the listeners follow the faults in force.
func (h *host) update() {
	h.mu.Lock()
	ports := slices.Clone(h.ports)
	h.mu.Unlock()
	for _, p := range ports {
		h.updatePort(p)
	}
}

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
	if err != nil { // somebody else has the port for the moment
		h.startTimer(p, 10*time.Millisecond)
		return
	}
	p.serving = h.serve(l, p.config)
}

// startTimer has updatePort called again. The caller holds mu.
func (h *host) startTimer(p *port, after time.Duration) {
	h.work.Add(1)
	p.timer = time.AfterFunc(after, func() {
		defer h.work.Done()
		h.updatePort(p)
	})
}

// stopTimer ends the timer, unless its function has begun and does so itself. The caller holds mu.
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
	<-p.serving.done // from now on http.Server knows all connections
	p.serving.http.Close()
	p.serving = nil
}

// serve accepts connections in a goroutine.
func (h *host) serve(l net.Listener, config *tls.Config) *serving {
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
	if config != nil {
		l = tls.NewListener(l, config) // which keeps to HTTP/1.1, so that a connection can be reset
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
