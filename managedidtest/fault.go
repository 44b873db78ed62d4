package managedidtest

import (
	"fmt"
	"net/http"
	"time"
)

// Fault is a failure that the emulator simulates. If several faults are active at an endpoint, the one injected first
// applies until it ends. Two faults with a Count therefore form a script.
type Fault struct {
	// Endpoint is where the fault applies. Zero: at every endpoint.
	Endpoint Endpoint

	// Count is the number of requests after which the fault ends. Zero: no limit.
	Count int

	// For is the time after which the fault ends, counted from Inject. Zero: no limit. Without Count and For, the fault
	// lasts until ClearFaults.
	For time.Duration

	// Status is the status of the answer. Zero: the normal answer, or status 200 if there is a Body.
	Status int

	// Body is the body of the answer if Status or Body is set.
	Body string

	// Header is added to the headers that the endpoint usually sends, and replaces those with the same name. A name
	// without values removes the header: http.Header{"Server": nil}.
	Header http.Header

	// Delay is the time before anything else happens. Zero: none.
	Delay time.Duration

	// Pace is the time before each byte of the body. Zero: none.
	Pace time.Duration

	// Length is the value of Content-Length. If the body is longer, its rest is sent nevertheless. Zero: the length of
	// the body. Negative: there is no Content-Length, and the body is sent in chunks.
	Length int64

	// Cut is the number of bytes of the body after which the connection is closed. Zero: the whole body is sent.
	Cut int

	// Reset resets the connection after the request is read, and no answer is sent. With Cut, it resets the connection
	// after that many bytes of the body, or after all of them if the body is shorter.
	Reset bool

	// Refused refuses connections. On a [Server] it applies to a whole address. For Entra, Discovery and ServiceFabric,
	// this is the address of AuthorityHost and of each TokenProxy. For other endpoints, it is the address of URL. For
	// zero, it is all of them. The server also closes established connections, and ignores Count and Delay. It listens
	// on the same address again after For or ClearFaults. In [Emulator.Do], Refused applies to single requests, by
	// their path. Refused connections are not logged.
	Refused bool
}

// fault is an injected Fault.
type fault struct {
	Fault
	until     time.Time // zero: no limit
	remaining int       // number of requests; meaningful if Count is not zero
}

// Inject adds a fault. It panics if a field other than Length is negative, if Status is neither zero nor from 200 to
// 599, or if Endpoint is a host. On a [Server], connections are already refused when Inject returns.
func (e *Emulator) Inject(f Fault) {
	switch f.Endpoint {
	case EntraSecret, EntraCertificate, Workload, IdentityBinding:
		panic("managedidtest: invalid Fault: " + string(f.Endpoint) + " is no endpoint; Entra is")
	case AppService2017:
		panic("managedidtest: invalid Fault: " + string(f.Endpoint) + " is no endpoint; AppService is")
	}
	if f.Count < 0 || f.For < 0 || f.Delay < 0 || f.Pace < 0 || f.Cut < 0 || f.Status != 0 &&
		(f.Status < 200 || f.Status > 599) {
		panic(fmt.Sprintf("managedidtest: invalid Fault: Count %d, For %v, Delay %v, Pace %v, Cut %d, Status %d",
			f.Count, f.For, f.Delay, f.Pace, f.Cut, f.Status))
	}
	f.Header = f.Header.Clone()
	added := &fault{Fault: f, remaining: f.Count}
	if f.For > 0 {
		added.until = time.Now().Add(f.For)
	}
	e.s.mu.Lock()
	e.s.faults = append(e.s.faults, added)
	e.s.mu.Unlock()
	e.s.faultsChanged()
}

// ClearFaults ends all faults. Requests that wait for a Delay continue to wait.
func (e *Emulator) ClearFaults() {
	e.s.mu.Lock()
	e.s.faults = nil
	e.s.mu.Unlock()
	e.s.faultsChanged()
}

// faultsChanged applies the change to the listeners, if there are any. The caller does not hold mu.
func (s *state) faultsChanged() {
	if s.updateListeners != nil {
		s.updateListeners()
	}
}

// pending returns the fault that now applies to the endpoint, or nil if there is none. The caller holds mu.
func (s *state) pending(endpoint Endpoint, now time.Time) *fault {
	for _, f := range s.faults {
		if f.Endpoint != "" && f.Endpoint != endpoint || !f.inForce(now) {
			continue
		}
		return f
	}
	return nil
}

// inForce reports whether the fault is active. The caller holds mu.
func (f *fault) inForce(now time.Time) bool {
	return (f.until.IsZero() || now.Before(f.until)) && (f.Count == 0 || f.remaining > 0)
}

// useFault counts a request against the Count of the fault. The caller holds mu.
func (s *state) useFault(f *fault) {
	if !f.Refused || !s.listening {
		f.remaining--
	}
}

// refused reports whether a Refused fault applies to the endpoint. It counts the request and returns the delay.
func (s *state) refused(endpoint Endpoint) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.pending(endpoint, time.Now())
	if endpoint == "" || f == nil || !f.Refused {
		return 0, false
	}
	s.useFault(f)
	return f.Delay, true
}

// refusedUntil reports whether the listeners with TLS (secure) or without it must refuse connections now, and until
// when. A zero time means until ClearFaults.
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
