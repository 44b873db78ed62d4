package managedidtest

import (
	"fmt"
	"net/http"
	"time"
)

// Fault is something that goes wrong. Of several in force at one endpoint the one injected first applies, until it has
// ended; so two faults with a Count are a script.
type Fault struct {
	// Endpoint is where. Zero: at any of them.
	Endpoint Endpoint

	// Count is the number of requests after which the fault has ended. Zero: no limit.
	Count int

	// For is the time after which the fault has ended, counted from Inject. Zero: no limit. Without Count and For it lasts
	// until ClearFaults.
	For time.Duration

	// Status is the answer's status. Zero: the normal answer, or 200 if there is a Body.
	Status int

	// Body is the answer's body when Status or Body is set.
	Body string

	// Header is added to the headers that the endpoint sends with every answer, and replaces those of the same name. A
	// name without values takes the header away: http.Header{"Server": nil}.
	Header http.Header

	// Delay is the time that passes before whatever follows. Zero: none.
	Delay time.Duration

	// Pace is the time that passes before each byte of the body. Zero: none.
	Pace time.Duration

	// Length is what Content-Length announces; the rest of a longer body follows nevertheless. Zero: the body's length. Negative:
	// nothing is announced, and the body comes in chunks.
	Length int64

	// Cut is the number of bytes of the body after which the connection is closed. Zero: none, the body comes whole.
	Cut int

	// Reset resets the connection after the request was read; there is no answer then. With Cut, after that many bytes of the
	// body or, if it has no more, all of them.
	Reset bool

	// Refused refuses connections. On a [Server] it holds for a whole address, the one that the Endpoint is at: that of
	// AuthorityHost for Entra, Discovery and ServiceFabric, with each TokenProxy's, that of URL for any other, all for none. Established connections
	// are closed too, Count and Delay are ignored, and the server listens again on the same address after For or
	// ClearFaults. In [Emulator.Do] it is per request, by path. Refused connections are not logged.
	Refused bool
}

type fault struct {
	Fault
	until time.Time // zero: no limit
	left  int       // requests; meaningful if Count is not zero
}

// Inject adds a fault. It panics if a field is negative, if Status is neither zero nor from 200 to 599, or if Endpoint is a
// host. On a [Server], when Inject returns, connections are refused that shall be.
func (e *Emulator) Inject(f Fault) {
	switch f.Endpoint {
	case EntraSecret, EntraCertificate, Workload, IdentityBinding:
		panic("managedidtest: invalid Fault: " + string(f.Endpoint) + " is no endpoint; Entra is")
	case AppService2017:
		panic("managedidtest: invalid Fault: " + string(f.Endpoint) + " is no endpoint; AppService is")
	}
	if f.Count < 0 || f.For < 0 || f.Delay < 0 || f.Pace < 0 || f.Cut < 0 || f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		panic(fmt.Sprintf("managedidtest: invalid Fault: Count %d, For %v, Delay %v, Pace %v, Cut %d, Status %d",
			f.Count, f.For, f.Delay, f.Pace, f.Cut, f.Status))
	}
	f.Header = f.Header.Clone()
	in := &fault{Fault: f, left: f.Count}
	if f.For > 0 {
		in.until = time.Now().Add(f.For)
	}
	e.s.mu.Lock()
	e.s.faults = append(e.s.faults, in)
	e.s.mu.Unlock()
	e.s.faultsChanged()
}

// ClearFaults ends all faults. Requests that wait for a Delay go on waiting.
func (e *Emulator) ClearFaults() {
	e.s.mu.Lock()
	e.s.faults = nil
	e.s.mu.Unlock()
	e.s.faultsChanged()
}

func (s *state) faultsChanged() {
	if s.refusal != nil {
		s.refusal()
	}
}

// pending returns the fault that applies to the endpoint now, nil if there is none. The caller holds mu.
func (s *state) pending(at Endpoint, now time.Time) *fault {
	for _, f := range s.faults {
		if f.Endpoint != "" && f.Endpoint != at || !f.inForce(now) {
			continue
		}
		return f
	}
	return nil
}

func (f *fault) inForce(now time.Time) bool {
	return (f.until.IsZero() || now.Before(f.until)) && (f.Count == 0 || f.left > 0)
}

// spend counts one request. The caller holds mu.
func (s *state) spend(f *fault) {
	if !f.Refused || !s.listening {
		f.left--
	}
}

// refused reports whether a Refused fault meets a connection for this endpoint, counts it, and returns its delay.
func (s *state) refused(at Endpoint) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.pending(at, time.Now())
	if at == "" || f == nil || !f.Refused {
		return 0, false
	}
	s.spend(f)
	return f.Delay, true
}

// refusedUntil reports whether the listener with TLS, or the one without, has to be closed now, and until when; a zero time
// means until ClearFaults.
func (s *state) refusedUntil(now time.Time, secure bool) (until time.Time, refused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if !f.Refused || !f.inForce(now) || f.Endpoint != "" && f.Endpoint.secure() != secure {
			continue
		}
		if f.until.IsZero() {
			return time.Time{}, true
		}
		if f.until.After(until) {
			until = f.until
		}
		refused = true
	}
	return until, refused
}
