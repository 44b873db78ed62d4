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

// Server is an [Emulator] that listens on sockets: without TLS at URL, and with TLS at AuthorityHost. Its certificate
// is valid for localhost, for its listening address, and for the names of Entra's authority hosts. A test can map these
// names to it.
type Server struct {
	*Emulator

	host *host
}

// host is the state of a Server. It is behind a pointer, so that printing a Server reads no field that a mutex guards.
type host struct {
	handler   http.Handler
	state     *state
	ports     []*port
	client    *http.Client
	authority *authority
	work      sync.WaitGroup // counts connections, handlers and timers

	mu        sync.Mutex // guards all fields below, and the changing fields of the ports
	closed    bool
	resources []*httptest.Server
}

// NewServer starts a server. It panics if it cannot listen; [Listen] returns an error instead. The caller calls Close
// when finished.
func NewServer(o *Options) *Server {
	s, err := Listen(o)
	if err != nil {
		panic(err)
	}
	return s
}

// Listen starts a server like [NewServer], but returns an error if it cannot listen at [Options].Addr. It is for
// programs.
func Listen(o *Options) (*Server, error) {
	addr := "127.0.0.1:0"
	if o != nil && o.Addr != "" {
		addr = o.Addr
	}
	metadata, err := listenPlain(addr)
	if err != nil {
		return nil, fmt.Errorf("managedidtest: %w", err)
	}
	tcp := metadata.Addr().(*net.TCPAddr)
	entra, err := net.Listen("tcp", (&net.TCPAddr{IP: tcp.IP, Zone: tcp.Zone}).String())
	if err != nil {
		metadata.Close()
		return nil, fmt.Errorf("managedidtest: %w", err)
	}
	e := New(o)
	e.URL = "http://" + reachable(tcp)
	e.AuthorityHost = "https://" + reachable(entra.Addr()) + "/"
	h := &host{handler: e, state: e.s, authority: newAuthority()}
	h.client = h.authority.client()
	e.s.listening = true
	e.s.updateListeners = h.update
	certificate := h.authority.issue(tcp.IP, authorityHosts...)
	e.s.node = fabricNode{"https://" + reachable(entra.Addr()), thumbprintOf(certificate.Certificate[0])}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	h.open(metadata, nil)
	h.open(entra, config)
	s := &Server{Emulator: e, host: h}
	e.s.newProxy = s.NewTokenProxy
	return s, nil
}

// listenPlain listens without TLS. If addr leaves the port open, it avoids Azure Arc's port, where IMDS's path belongs
// to Arc.
func listenPlain(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil || !strings.HasSuffix(addr, ":0") || !strings.HasSuffix(l.Addr().String(), ":"+arcPort) {
		return l, err
	}
	defer l.Close()
	return net.Listen("tcp", addr)
}

// add opens a further address with TLS. It returns an error after Close.
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

// reachable replaces an unspecified IP address, such as 0.0.0.0, by loopback, so that clients can dial it.
func reachable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return a.String()
	}
	return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
}

// Client returns a client that trusts the certificates of Entra's endpoints and of [Server.NewResource]. It follows
// redirects and uses no proxy. [Server.Close] closes its idle connections.
func (s *Server) Client() *http.Client { return s.host.client }

// CertificatePEM returns the certificate of the authority that Client trusts, in PEM. Write it to a file that another
// program trusts, for example by SSL_CERT_FILE (OpenSSL; Go on Unix systems other than macOS) or NODE_EXTRA_CA_CERTS
// (Node.js). The authority's private key never leaves the server.
func (s *Server) CertificatePEM() []byte { return s.host.authority.pem() }

// Close stops the server, its token proxies and the servers of [Server.NewResource]. It waits until all their
// goroutines have ended. It aborts requests in progress and removes the remaining Azure Arc key files. Do not call it
// from [Options].OnRequest.
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
