package managedidtest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// Server is an [Emulator] that listens: in clear at its URL, and over TLS at its AuthorityHost. Its certificate is for
// localhost, the address that it listens on, and the names of Entra's authority hosts, so that a test can map these to it.
type Server struct {
	*Emulator

	host *host
}

// host is behind a pointer so that printing a Server reads nothing that a mutex guards.
type host struct {
	handler   http.Handler
	state     *state
	ports     []*port
	client    *http.Client
	authority *authority
	work      sync.WaitGroup // connections, handlers and timers

	mu        sync.Mutex // guards all below, and the ports
	closed    bool
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
	metadata, err := listenClear(addr)
	if err != nil {
		return nil, fmt.Errorf("managedidtest: %w", err)
	}
	at := metadata.Addr().(*net.TCPAddr)
	entra, err := net.Listen("tcp", (&net.TCPAddr{IP: at.IP, Zone: at.Zone}).String())
	if err != nil {
		metadata.Close()
		return nil, fmt.Errorf("managedidtest: %w", err)
	}
	e := New(o)
	e.URL = "http://" + reachable(at)
	e.AuthorityHost = "https://" + reachable(entra.Addr()) + "/"
	h := &host{handler: e, state: e.s, authority: newAuthority()}
	h.client = h.authority.client()
	e.s.listening = true
	e.s.refusal = h.update
	certificate := h.authority.issue(at.IP, authorityHosts...)
	e.s.node = fabricNode{"https://" + reachable(entra.Addr()), thumbprintOf(certificate.Certificate[0])}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	h.open(metadata, nil)
	h.open(entra, config)
	s := &Server{Emulator: e, host: h}
	e.s.newProxy = s.NewTokenProxy
	return s, nil
}

// listenClear listens at the address; where that leaves the port open, not at Arc's, at which IMDS's path is Arc's.
func listenClear(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil || !strings.HasSuffix(addr, ":0") || !strings.HasSuffix(l.Addr().String(), ":"+arcPort) {
		return l, err
	}
	defer l.Close()
	return net.Listen("tcp", addr)
}

// add opens a further address over TLS.
func (h *host) add(l net.Listener, config *tls.Config) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errors.New("managedidtest: the server is closed")
	}
	h.open(l, config)
	return nil
}

func (h *host) open(l net.Listener, config *tls.Config) {
	p := &port{addr: l.Addr().String(), config: config, serving: h.serve(l, config)}
	h.ports = append(h.ports, p)
}

// reachable replaces an unspecified address, on which a server listens, by a loopback address to dial.
func reachable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return a.String()
	}
	return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
}

// Client returns a client that trusts the certificates of Entra's endpoints and of NewResource, follows redirects like any
// other, and uses no proxy. [Server.Close] closes its idle connections.
func (s *Server) Client() *http.Client { return s.host.client }

// CertificatePEM returns the certificate of the authority that Client trusts, for a file that a program is told to trust,
// as by SSL_CERT_FILE (Go, on Unix systems other than macOS; OpenSSL) or NODE_EXTRA_CA_CERTS (Node.js). Its key never
// leaves the server.
func (s *Server) CertificatePEM() []byte { return s.host.authority.pem() }

// Close ends the server and those of NewResource, and waits until all their goroutines have ended. Requests under way are
// cut off, and the key files that are left removed. It must not be called from [Options].OnRequest.
func (s *Server) Close() {
	h := s.host
	h.mu.Lock()
	h.closed = true
	resources := h.resources
	for _, p := range h.ports {
		h.stopTimer(p)
		p.refuse()
	}
	h.mu.Unlock()
	for _, r := range resources {
		r.CloseClientConnections()
		r.Close()
	}
	h.state.keys.clear()
	h.client.CloseIdleConnections()
	if t, ok := http.DefaultTransport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections() // as httptest does
	}
	h.work.Wait()
}
