package managedidtest

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"syscall"
	"time"
)

// answer is the response to a request.
type answer struct {
	status   int
	header   http.Header
	body     []byte
	identity string // client ID; zero: the answer has no token
	delivery
}

// errReset means that the connection is reset, and that no answer or no more of it is sent.
var errReset = errors.New("connection reset")

// inflight is a request in progress.
type inflight struct {
	request   *http.Request
	form      url.Values // of the body of a POST; nil: none
	entry     *Request   // the log entry; state.mu guards it
	endpoint  Endpoint
	admitted  bool   // it holds a slot of the limiter
	throttled bool   // the limiter rejected it
	fault     *Fault // nil: none
}

// ServeHTTP answers requests to all endpoints. Endpoints with TLS answer only requests over TLS; the others answer only
// requests without TLS. The request target may have the absolute form that proxies receive. All other paths get status
// 404. A handler cannot refuse a connection, so a Refused fault resets it, except on a [Server], whose listeners refuse
// connections.
func (e *Emulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, err := e.s.respond(r, r.TLS != nil)
	if err != nil {
		reset(w)
		return
	}
	a.send(w, r)
}

// reset closes the connection with RST. If the server does not allow this, it aborts the request.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	raw := conn
	if secure, ok := conn.(*tls.Conn); ok {
		raw = secure.NetConn()
	}
	if tcp, ok := raw.(interface{ SetLinger(seconds int) error }); ok {
		tcp.SetLinger(0)
	}
	raw.Close() // without the closing message of TLS
	conn.Close()
}

// Do answers a request without sockets and ignores its host. A request with the scheme https counts as a request over
// TLS. Do returns the error of a broken connection for faults that break one, and the context's error if the context
// ends first. It does not follow redirects.
func (e *Emulator) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	ctx := r.Context()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	secure := r.URL.Scheme == "https"
	if delay, ok := e.s.refused(endpointOf(r, secure)); ok {
		if err := wait(ctx, delay); err != nil {
			return nil, err
		}
		return nil, connError("dial", "connect", r, syscall.ECONNREFUSED)
	}
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	a, err := e.s.respond(r, secure)
	if errors.Is(err, errReset) {
		err = connError("read", "read", r, syscall.ECONNRESET)
	}
	if err != nil {
		return nil, err
	}
	if trace != nil && trace.GotFirstResponseByte != nil {
		trace.GotFirstResponseByte()
	}
	return a.response(r), nil
}

// RoundTrip implements [http.RoundTripper]. It is the same as Do.
func (e *Emulator) RoundTrip(r *http.Request) (*http.Response, error) { return e.Do(r) }

// respond logs a request, applies faults and limits, and returns the answer. It returns errReset if there is none to
// send.
func (s *state) respond(r *http.Request, secure bool) (answer, error) {
	forwarded := s.forwarded(r)
	t := s.begin(r, endpointOf(forwarded, secure), readForm(r))
	t.request = forwarded
	a, err := s.run(t)
	logged := s.end(t, a)
	if s.options.OnRequest != nil {
		s.options.OnRequest(logged)
	}
	return a, err
}

// readForm reads the whole body, up to 1 MiB. It returns the form of a POST, or nil if there is none or it is
// malformed.
func readForm(r *http.Request) url.Values {
	if r.Body == nil {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method != http.MethodPost || kind != "application/x-www-form-urlencoded" {
		return nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil
	}
	return form
}

// begin logs the request. It decides whether the limiter admits it and which fault applies to it.
func (s *state) begin(r *http.Request, endpoint Endpoint, form url.Values) *inflight {
	query := r.URL.Query()
	t := &inflight{request: r, endpoint: endpoint, form: form, entry: &Request{
		Endpoint: endpoint, Method: r.Method, Host: hostOf(r), Path: r.URL.Path,
		Query: query, Header: r.Header.Clone(), Form: clone(form), Resource: requested(query, form),
	}}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now() // under the lock, so that the times follow the order of the log
	t.entry.Time = now
	s.log = append(s.log, t.entry)
	if t.endpoint == "" {
		return t
	}
	if t.endpoint == IMDS {
		t.admitted = s.limits.admit(now)
		t.throttled = !t.admitted
	}
	if f := s.pending(t.endpoint, now); f != nil && !t.throttled {
		s.useFault(f)
		t.fault = &f.Fault
		t.entry.Fault = true
	}
	return t
}

// run returns the answer: of the limiter, of the fault, or the normal one.
func (s *state) run(t *inflight) (answer, error) {
	if t.throttled {
		const description = "Temporarily throttled, too many requests"
		return imdsError(http.StatusTooManyRequests, "too_many_requests", description), nil
	}
	if t.fault == nil {
		return s.normal(t), nil
	}
	if err := wait(t.request.Context(), t.fault.Delay); err != nil {
		return answer{}, err
	}
	if t.fault.Reset && t.fault.Cut == 0 || t.fault.Refused {
		return answer{}, errReset
	}
	a := answer{status: cmp.Or(t.fault.Status, http.StatusOK), header: usualHeader(t.endpoint),
		body: []byte(t.fault.Body)}
	if t.fault.Status == 0 && t.fault.Body == "" {
		a = s.normal(t)
	}
	for name, values := range t.fault.Header {
		a.header[http.CanonicalHeaderKey(name)] = values
		if len(values) == 0 {
			delete(a.header, http.CanonicalHeaderKey(name))
		}
	}
	a.delivery = t.fault.delivery()
	return a, nil
}

// normal returns the answer of the endpoint without faults.
func (s *state) normal(t *inflight) answer {
	switch t.endpoint {
	case IMDS:
		return s.imds(t.request)
	case AppService:
		return s.appService(t.request)
	case Arc:
		return s.arc(t.request)
	case CloudShell:
		return s.cloudShell(t)
	case AzureML:
		return s.azureML(t.request)
	case ServiceFabric:
		return s.serviceFabric(t.request)
	case Keys:
		return jwks(t.request)
	case Entra:
		return s.entra(t.request, t.form)
	case Discovery:
		return s.discovery(t.request)
	}
	return answer{status: http.StatusNotFound, header: http.Header{}}
}

// end completes the log entry and releases the slot of the limiter. It runs before the client can receive the answer.
func (s *state) end(t *inflight, a answer) Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.admitted {
		s.limits.release()
	}
	t.entry.Status = a.status
	t.entry.Identity = a.identity
	return t.entry.clone()
}

// wait returns after the delay, or earlier with the context's error if the context ends.
func wait(ctx context.Context, delay time.Duration) error {
	if delay <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
