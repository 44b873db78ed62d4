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

// answer is what goes back to the client.
type answer struct {
	status   int
	header   http.Header
	body     []byte
	identity string // client ID; zero if it is no token
	delivery
}

// errReset says that the connection is reset instead of answered.
var errReset = errors.New("connection reset")

// turn is a request under way.
type turn struct {
	request   *http.Request
	form      url.Values // of a POST's body
	entry     *Request   // in the log; guarded by state.mu
	endpoint  Endpoint
	admitted  bool // holds a slot of the limiter
	throttled bool
	fault     *Fault // nil: none
}

// ServeHTTP answers a request to any of the endpoints: to those that are there over TLS only if it came over TLS, to the
// others if it did not, also one with an absolute-form target, as proxies get it; 404 to other paths. A Refused fault, which a handler cannot bring about,
// resets the connection, unless the server is a [Server].
func (e *Emulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, err := e.s.answer(r, r.TLS != nil)
	if err != nil {
		reset(w)
		return
	}
	a.send(w, r)
}

// reset ends the connection with RST, or as abruptly as the server lets it.
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
	raw.Close() // without TLS's farewell
	conn.Close()
}

// Do answers a request without sockets, whatever its host; a request over TLS is one with the scheme https. It returns the
// errors of a connection for the faults that break one, and that of the request's context if it ends first. It follows no
// redirect.
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
	a, err := e.s.answer(r, secure)
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

// RoundTrip is Do.
func (e *Emulator) RoundTrip(r *http.Request) (*http.Response, error) { return e.Do(r) }

// answer is everything from the request that was read to the answer that may be sent.
func (s *state) answer(r *http.Request, secure bool) (answer, error) {
	to := s.forwarded(r)
	t := s.begin(r, endpointOf(to, secure), readForm(r))
	t.request = to
	a, err := s.run(t)
	logged := s.end(t, a)
	if s.options.OnRequest != nil {
		s.options.OnRequest(logged)
	}
	return a, err
}

// readForm reads the body, and returns the fields of a POST's form, nil if it is malformed.
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

// begin logs the request, and settles whether it is admitted and which fault meets it.
func (s *state) begin(r *http.Request, at Endpoint, form url.Values) *turn {
	query := r.URL.Query()
	t := &turn{request: r, endpoint: at, form: form, entry: &Request{
		Endpoint: at, Method: r.Method, Host: hostOf(r), Path: r.URL.Path,
		Query: query, Header: r.Header.Clone(), Form: clone(form), Resource: requested(query, form),
	}}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now() // under the lock, so that times and log have one order
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
		s.spend(f)
		t.fault = &f.Fault
		t.entry.Fault = true
	}
	return t
}

func (s *state) run(t *turn) (answer, error) {
	if t.throttled {
		return imdsError(http.StatusTooManyRequests, "too_many_requests", "Temporarily throttled, too many requests"), nil
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
	a := answer{status: cmp.Or(t.fault.Status, http.StatusOK), header: usualHeader(t.endpoint), body: []byte(t.fault.Body)}
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

func (s *state) normal(t *turn) answer {
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

// end completes the entry in the log and gives the slot back, before the client can know of the answer.
func (s *state) end(t *turn, a answer) Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.admitted {
		s.limits.release()
	}
	t.entry.Status = a.status
	t.entry.Identity = a.identity
	return t.entry.clone()
}

// wait returns the context's error if that ends before the delay.
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
