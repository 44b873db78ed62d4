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

// The lifetimes of tokens. IMDS gives the same one again until half of it is over. All are used until they expire; those that are
// renewed before are among the faults. Entra's are renewed within the half minute, behind the callers' backs.
const (
	imdsLifetime  = 12 * time.Second
	entraLifetime = 330 * time.Second
)

// side is one endpoint, and what goes wrong there.
type side struct {
	endpoint managedidtest.Endpoint
	server   *managedidtest.Server
	played   map[string]int // faults by kind
	met      atomic.Int64   // requests that a fault met
}

func newSide(at managedidtest.Endpoint, o managedidtest.Options) (_ *side, err error) {
	s := &side{endpoint: at, played: map[string]int{}}
	o.OnRequest = func(r managedidtest.Request) {
		if r.Fault {
			s.met.Add(1)
		}
	}
	s.server, err = managedidtest.Listen(&o)
	return s, err
}

// play has things go wrong until ctx ends, and then nothing more.
func (s *side) play(ctx context.Context, seed, number uint64) {
	defer s.server.ClearFaults()
	r := stream(seed, number)
	for ctx.Err() == nil {
		p := nextPhase(r)
		p.fault.Endpoint = s.endpoint
		s.server.ClearFaults()
		if p.kind != none {
			s.played[p.kind]++
			s.server.Inject(p.fault)
		}
		sleep(ctx, p.length)
	}
}

// newProxy is the proxy that nobody should ask.
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
