package conformance

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/managedidtest"
)

// faultHost is an emulator behind net/http's own server and client, whose connections are pipes, so that all of HTTP and TLS
// takes place in a bubble's time. It is a listener for that server.
type faultHost struct {
	*managedidtest.Emulator
	row          *faultRow
	answeredOnly bool                        // faults spare requests without a key, which Azure Arc's agent answers with a challenge
	certificates map[string]*tls.Certificate // by what is wrong with them
	accept       chan net.Conn
	closed       chan struct{}
	pipes        sync.Map     // the clients' ends
	tries        atomic.Int32 // connections that were asked for
	began        atomic.Int64 // when the fault did, in nanoseconds; zero: there is none
}

// faultCertificates are for Entra's name and for localhost. That of "" is good.
func faultCertificates(t *testing.T) map[string]*tls.Certificate {
	long := func(more func(*x509.Certificate)) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Unix(0, 0), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
			c.DNSNames = []string{"login.microsoftonline.com", "localhost"}
			more(c)
		}
	}
	plain := func(*x509.Certificate) {}
	authority := issue(t, nil, long(plain))
	return map[string]*tls.Certificate{
		"authority": authority,
		"":          issue(t, authority, long(plain)),
		"unknown":   issue(t, nil, long(plain)),
		"expired":   issue(t, authority, long(func(c *x509.Certificate) { c.NotAfter = time.Unix(1, 0) })),
		"other":     issue(t, authority, long(func(c *x509.Certificate) { c.DNSNames = []string{"elsewhere.example"} })),
	}
}

func newFaultHost(t *testing.T, of *faultSource, row *faultRow, certificates map[string]*tls.Certificate) (_ *faultHost, closed func()) {
	t.Helper()
	if of.host == managedidtest.Arc {
		needArcFolder(t)
	}
	o := row.options
	o.UserAssigned = []managedidtest.Identity{{ClientID: someGUID}}
	o.Applications = []managedidtest.Application{{Certificates: []*x509.Certificate{testkit.Leaf(t)}}}
	h := &faultHost{Emulator: managedidtest.New(&o), row: row, answeredOnly: of.answeredOnly, certificates: certificates,
		accept: make(chan net.Conn), closed: make(chan struct{})}
	h.Setenv(t, of.host)
	if of.host == managedidtest.ServiceFabric {
		t.Setenv("IDENTITY_SERVER_THUMBPRINT", thumbprintOf(certificates[""]))
	}
	server := &http.Server{Handler: http.HandlerFunc(h.serve), ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(h) }()
	return h, func() {
		h.pipes.Range(func(near, _ any) bool { return near.(*pipe).Close() == nil }) // so that nothing waits to be read
		_ = server.Close()
	}
}

// begin begins the row's fault, and end ends it.
func (h *faultHost) begin() {
	h.began.Store(time.Now().UnixNano())
	h.tries.Store(0)
	h.inject()
}

func (h *faultHost) end() {
	h.began.Store(0)
	h.ClearFaults()
}

func (h *faultHost) inject() {
	h.ClearFaults()
	if h.began.Load() != 0 && !reflect.ValueOf(h.row.fault).IsZero() {
		h.Inject(h.row.fault)
	}
}

// quickCurve costs a third of what the others do. Its keys are short, so that a client has read all that the server sends when it
// refuses the certificate: through a pipe, its alert would else wait for the server, which waits for it.
var quickCurve = []tls.CurveID{tls.CurveP256}

// client is a user's, whose connections are the host's pipes.
func (h *faultHost) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(h.certificates["authority"].Leaf)
	return &http.Client{Transport: &http.Transport{DialContext: h.dial, TLSClientConfig: &tls.Config{RootCAs: roots, CurvePreferences: quickCurve},
		TLSHandshakeTimeout: 10 * time.Second, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}}
}

func (h *faultHost) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	h.tries.Add(1)
	var row faultRow
	if began := h.began.Load(); began != 0 {
		row = *h.row
		if row.dial != nil {
			if err := row.dial(ctx, time.Since(time.Unix(0, began))); err != nil {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
			}
		}
	}
	near, far := newPipe()
	h.pipes.Store(near, nil)
	var server net.Conn = far
	switch secure := strings.HasSuffix(addr, ":443") || strings.HasSuffix(addr, ":2377"); {
	case row.certificate == "silent":
		return near, nil
	case secure && row.certificate != "none":
		server = tls.Server(far, &tls.Config{Certificates: []tls.Certificate{*h.certificates[row.certificate]}, CurvePreferences: quickCurve, MaxVersion: row.version, MinVersion: tls.VersionTLS10})
	}
	select {
	case h.accept <- server:
		return near, nil
	case <-h.closed:
	case <-ctx.Done():
	}
	return nil, errRefused
}

func (h *faultHost) Accept() (net.Conn, error) {
	select {
	case c := <-h.accept:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *faultHost) Close() error   { close(h.closed); return nil }
func (h *faultHost) Addr() net.Addr { return &net.TCPAddr{} }

// serve answers as the emulator, whose token the row's fault may change on its way.
func (h *faultHost) serve(w http.ResponseWriter, r *http.Request) {
	if h.answeredOnly {
		if r.Header.Get("Authorization") == "" {
			h.ClearFaults()
		} else {
			h.inject()
		}
	}
	if h.row.alter == nil || h.began.Load() == 0 {
		h.ServeHTTP(w, r)
		return
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	body := rec.Body.Bytes()
	var fields map[string]json.RawMessage
	if rec.Code == 200 && json.Unmarshal(body, &fields) == nil {
		body = h.row.alter(fields, body)
	}
	maps.Copy(w.Header(), rec.Header())
	w.Header().Del("Content-Length")
	w.WriteHeader(rec.Code)
	_, _ = io.Copy(w, bytes.NewReader(body))
}

// pipe is an end of a connection. Where its other end was reset, it says so.
type pipe struct {
	net.Conn
	reset    *atomic.Bool // of both ends
	lingered bool
}

func newPipe() (near, far *pipe) {
	a, b := net.Pipe()
	var reset atomic.Bool
	return &pipe{Conn: a, reset: &reset}, &pipe{Conn: b, reset: &reset}
}

// SetLinger(0) makes Close a reset, as of a *net.TCPConn.
func (p *pipe) SetLinger(seconds int) error { p.lingered = seconds == 0; return nil }

func (p *pipe) Close() error {
	if p.lingered {
		p.reset.Store(true)
	}
	return p.Conn.Close()
}

func (p *pipe) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	return n, p.explain("read", err)
}
func (p *pipe) Write(b []byte) (int, error) {
	n, err := p.Conn.Write(b)
	return n, p.explain("write", err)
}

func (p *pipe) explain(op string, err error) error {
	if err != nil && p.reset.Load() && !p.lingered {
		return &net.OpError{Op: op, Net: "tcp", Err: syscall.ECONNRESET}
	}
	return err
}
