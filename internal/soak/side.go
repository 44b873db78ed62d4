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

// The lifetimes of tokens. IMDS gives the same one again until half of it is over. All are used until they expire;
// those that are renewed before are among the faults. Entra's are renewed within the half minute, behind the callers'
// backs.
const (
	imdsLifetime  = 12 * time.Second
	entraLifetime = 330 * time.Second
)

// side is one endpoint, and what goes wrong there.
type side struct {
	name     string
	endpoint managedidtest.Endpoint
	server   *managedidtest.Server
	played   map[string]int // faults by kind
	lossy    atomic.Bool    // only requests without an answer meet a fault
	met      atomic.Int64   // requests that a fault met
}

func newSide(name string, at managedidtest.Endpoint, o managedidtest.Options) (_ *side, err error) {
	s := &side{name: name, endpoint: at, played: map[string]int{}}
	o.OnRequest = func(r managedidtest.Request) {
		if r.Fault && (r.Status == 0 || !s.lossy.Load()) {
			s.met.Add(1)
		}
	}
	s.server, err = managedidtest.Listen(&o)
	return s, err
}

// play has things go wrong until ctx ends, and then nothing more. The child learns how the endpoint is.
func (s *side) play(ctx context.Context, seed, number uint64, t *teller) {
	defer s.server.ClearFaults()
	r := stream(seed, number)
	for phases := firstPhases(r); ctx.Err() == nil; phases = nextPhases(r) {
		for _, p := range phases {
			if p.kind != none {
				t.tell(s.name, faulty)
			}
			s.begin(p)
			t.tell(s.name, p.mood)
			sleep(ctx, p.length)
		}
	}
}

func (s *side) begin(p phase) {
	s.server.ClearFaults()
	s.lossy.Store(p.kind == lossy)
	if p.kind != none {
		s.played[p.kind]++
	}
	for _, f := range p.faults {
		f.Endpoint = s.endpoint
		s.server.Inject(f)
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
