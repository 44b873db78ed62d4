package testkit

import (
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"
)

// FakeIMDS is a Transporter without sockets that answers as IMDS does, for bubbles.
type FakeIMDS struct {
	Script Script
	Began  time.Time

	mu   sync.Mutex
	sent []time.Duration // when each request came; guarded by mu
}

func (f *FakeIMDS) Do(r *http.Request) (*http.Response, error) {
	n := f.note()
	if f.Script != nil {
		if resp, err := f.Script(n, r); resp != nil || err != nil {
			return resp, err
		}
	}
	return IMDSToken(r, time.Hour), nil
}

// note notes when a request came, and returns how many came before it.
func (f *FakeIMDS) note() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, time.Since(f.Began))
	return len(f.sent) - 1
}

// Requests returns when each request came.
func (f *FakeIMDS) Requests() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Duration{}, f.sent...)
}

// IMDSToken is an answer of IMDS.
func IMDSToken(r *http.Request, lifetime time.Duration) *http.Response {
	return Respond(r, 200, TokenBody(r.URL.Query().Get("resource"), time.Now().Add(lifetime)), "Server", "IMDS/150.870.65.1475")
}

// IMDSStatus is a refusal of IMDS.
func IMDSStatus(r *http.Request, status int, header ...string) *http.Response {
	return Respond(r, status, `{"error":"e","error_description":"d"}`, append(header, "Server", "IMDS/150.870.65.1475")...)
}

// Wire is the RoundTripper of an *http.Client without sockets: connections take Connect, then the script answers.
type Wire struct {
	*FakeIMDS
	Connect func(r *http.Request) error
}

func (w Wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := w.Connect(r); err != nil {
		w.note()
		return nil, err
	}
	httptrace.ContextClientTrace(r.Context()).GotConn(httptrace.GotConnInfo{})
	return w.Do(r)
}
