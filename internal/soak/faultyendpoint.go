package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/managedid/managedid/managedidtest"
)

// The lifetimes of tokens. IMDS returns the same token until half its lifetime is over. The library uses the tokens of
// IMDS until they expire, and refreshes those of Entra in the background within half a minute. Tokens that are
// refreshed early are among the faults.
const (
	imdsLifetime  = 12 * time.Second
	entraLifetime = 330 * time.Second
)

// faultyEndpoint is an emulated endpoint with its faults.
type faultyEndpoint struct {
	name     string
	endpoint managedidtest.Endpoint
	server   *managedidtest.Server
	played   map[string]int // phases by kind of fault
	lossy    atomic.Bool    // a fault affects only requests without an answer
	met      atomic.Int64   // requests that a fault affected
}

func newEndpoint(name string, at managedidtest.Endpoint, o managedidtest.Options) (_ *faultyEndpoint, err error) {
	s := &faultyEndpoint{name: name, endpoint: at, played: map[string]int{}}
	o.OnRequest = func(r managedidtest.Request) {
		if r.Fault && (r.Status == 0 || !s.lossy.Load()) {
			s.met.Add(1)
		}
	}
	s.server, err = managedidtest.Listen(&o)
	return s, err
}

// play injects faults until ctx ends, and then clears them. It reports the condition of the endpoint to the child.
func (e *faultyEndpoint) play(ctx context.Context, seed, number uint64, out *reporter) {
	defer e.server.ClearFaults()
	r := stream(seed, number)
	for phases := firstPhases(r); ctx.Err() == nil; phases = nextPhases(r) {
		for _, p := range phases {
			if p.kind != none {
				out.report(e.name, faulty)
			}
			e.begin(p)
			out.report(e.name, p.condition)
			sleep(ctx, p.length)
		}
	}
}

// begin starts a phase.
func (e *faultyEndpoint) begin(p phase) {
	e.server.ClearFaults()
	e.lossy.Store(p.kind == lossy)
	if p.kind != none {
		e.played[p.kind]++
	}
	for _, f := range p.faults {
		f.Endpoint = e.endpoint
		e.server.Inject(f)
	}
}

// newProxy starts a proxy. Each use of it is a violation.
func newProxy(v *violations) *httptest.Server {
	proxy := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.add("no proxy", "%s %s", r.Method, r.Host)
		w.WriteHeader(http.StatusBadGateway)
		io.WriteString(w, "a proxy")
	}))
	proxy.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			v.add("no proxy", "a connection")
		}
	}
	proxy.Start()
	return proxy
}
