package managedidtest

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"
)

// Server is an [Emulator] that listens.
type Server struct {
	*Emulator

	host *host
}

// host is behind a pointer so that printing a Server reads nothing that a mutex guards.
type host struct {
	handler   http.Handler
	state     *state
	addr      string // of the first listener, so that later ones are the same
	client    *http.Client
	authority *authority
	work      sync.WaitGroup // connections, handlers and the timer

	mu        sync.Mutex // guards all below
	closed    bool
	serving   *serving // nil: refusing
	timer     *time.Timer
	resources []*httptest.Server
}

// NewServer starts a server. It panics if it cannot listen; [Listen] does not. The caller should call Close when finished.
func NewServer(o *Options) *Server {
	s, err := Listen(o)
	if err != nil {
		panic(err)
	}
	return s
}

// Listen is NewServer for programs: it returns the error if it cannot listen at [Options].Addr.
func Listen(o *Options) (*Server, error) {
	addr := "127.0.0.1:0"
	if o != nil && o.Addr != "" {
		addr = o.Addr
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("managedidtest: %w", err)
	}
	e := New(o)
	e.URL = "http://" + reachable(l.Addr())
	h := &host{handler: e, state: e.s, addr: l.Addr().String(), authority: newAuthority()}
	h.client = h.authority.client()
	e.s.listening = true
	e.s.refusal = h.update
	h.serving = h.serve(l)
	return &Server{Emulator: e, host: h}, nil
}

// reachable replaces an unspecified address, on which a server listens, by a loopback address to dial.
func reachable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return a.String()
	}
	return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
}

// Client returns a client that trusts the certificates of NewResource, follows redirects like any other, and uses no
// proxy. [Server.Close] closes its idle connections.
func (s *Server) Client() *http.Client { return s.host.client }

// Close ends the server and those of NewResource, and waits until all their goroutines have ended. Requests under way are
// cut off. It must not be called from [Options].OnRequest.
func (s *Server) Close() {
	h := s.host
	h.mu.Lock()
	h.closed = true
	resources := h.resources
	h.stopTimer()
	h.refuse()
	h.mu.Unlock()
	for _, r := range resources {
		r.Close()
	}
	h.client.CloseIdleConnections()
	if t, ok := http.DefaultTransport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections() // as httptest does
	}
	h.work.Wait()
}
