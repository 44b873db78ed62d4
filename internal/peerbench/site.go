package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// mishap is what a request meets instead of a token. The zero value is a token.
type mishap struct {
	name       string
	status     int
	retryAfter string
	err        error // of the connection
	silent     bool  // no connection comes: the request ends when its context does
	mute       bool  // there is a connection, but no answer
	stuck      bool  // likewise, and the transport ignores the context; see site.free
}

var (
	fails     = mishap{name: "500", status: http.StatusInternalServerError}
	askedOne  = mishap{name: "429 with `Retry-After: 1`", status: http.StatusTooManyRequests, retryAfter: "1"}
	throttles = mishap{name: "429 without Retry-After", status: http.StatusTooManyRequests}
	refuses   = mishap{name: "connections refused", err: dialError(syscall.ECONNREFUSED)}
	silence   = mishap{name: "no connection", silent: true}
	muteness  = mishap{name: "a connection, but no answer", mute: true}
	hangs     = mishap{name: "the transport never returns", stuck: true}
)

// silences are those of a host, by the number of a draw.
func silences(i int) mishap { return []mishap{silence, muteness}[i%2] }

func dialError(cause error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", cause)}
}

// between is what requests meet where an outage lasts from one time to another.
func (m mishap) between(from, to time.Duration) func(time.Duration, int) mishap {
	return func(at time.Duration, _ int) mishap {
		if at >= from && at < to {
			return m
		}
		return mishap{}
	}
}

// The endpoints of the scenarios.
const (
	imds  = "IMDS"
	entra = "Entra"
)

var hosts = []string{imds, entra}

// site is IMDS, and Entra's token endpoint. It notes each request for a token. It answers MSAL's requests for
// metadata at once, and does not count them. Fields are set before the first request.
type site struct {
	meets     func(at time.Duration, n int) mishap // the n-th request, from 1 on, that begins then; nil: a token
	delay     time.Duration                        // of an answer
	spread    func() time.Duration                 // is added to delay; nil: nothing
	life      func() time.Duration                 // of a token; nil: an hour
	members   string                               // of an answer, that say how long its token lives; "": by life
	text      string                               // a token
	numbered  bool                                 // no two tokens are the same
	behind    time.Duration                        // the library's clock is ahead of the site's by so much
	perSecond int                                  // takes no more in any second; zero: no limit
	parallel  int                                  // takes no more at once; likewise
	beyond    mishap                               // what the others meet

	free     chan struct{} // ends what is stuck
	closed   atomic.Bool   // all are told to come again in five minutes, which ends what still waits
	began    time.Time
	mu       sync.Mutex
	sent     []time.Duration // when each request began
	taken    []time.Duration // when those began that the limits let in
	underway int
	given    map[string]time.Time // a numbered token's end, by the library's clock
}

func newSite() *site {
	return &site{began: time.Now(), delay: 20 * time.Millisecond, text: "t", free: make(chan struct{}),
		given: map[string]time.Time{}}
}

// likeIMDS gives the site the limits of a virtual machine's IMDS.
func (s *site) likeIMDS() *site {
	s.perSecond, s.parallel, s.beyond = 20, 5, throttles
	return s
}

func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.Contains(r.URL.Path, "openid-configuration") {
		return response(r, http.StatusOK, metadataOf(r)), nil
	}
	m, took := s.begin()
	if took {
		defer s.end()
	}
	if err := m.withoutAnswer(r, s.free); err != nil {
		return nil, err
	}
	delay := s.delay
	if s.spread != nil {
		delay += s.spread()
	}
	if err := rest(r.Context(), delay); err != nil {
		return nil, err
	}
	resp := refusal(r, m)
	if m.status == 0 {
		resp = response(r, http.StatusOK, s.token(r))
	}
	resp.Header.Set("Date", time.Now().Add(-s.behind).UTC().Format(http.TimeFormat))
	return resp, nil
}

// withoutAnswer returns an error where no answer comes, when the request has ended.
func (m mishap) withoutAnswer(r *http.Request, free chan struct{}) error {
	if m.err != nil {
		return m.err
	}
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.GotConn != nil && !m.silent {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	switch {
	case m.stuck:
		<-free
		return errors.New("the transport was stuck")
	case m.silent, m.mute:
		<-r.Context().Done()
		return r.Context().Err()
	}
	return nil
}

// begin notes a request and says what it meets; took: it has one of the parallel places.
func (s *site) begin() (m mishap, took bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := time.Since(s.began)
	s.sent = append(s.sent, at)
	if s.closed.Load() {
		return mishap{name: "closed", status: http.StatusTooManyRequests, retryAfter: "300"}, false
	}
	if s.meets != nil {
		if m = s.meets(at, len(s.sent)); m.name != "" {
			return m, false
		}
	}
	if s.perSecond == 0 {
		return mishap{}, false
	}
	n := len(s.taken)
	if n >= s.perSecond && at-s.taken[n-s.perSecond] < time.Second || s.parallel > 0 && s.underway >= s.parallel {
		return s.beyond, false
	}
	s.taken = append(s.taken, at)
	s.underway++
	return mishap{}, true
}

func (s *site) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.underway--
}

// requests counts those that began from one time to another.
func (s *site) requests(from, to time.Duration) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.sent {
		if at >= from && at < to {
			n++
		}
	}
	return n
}

func (s *site) token(r *http.Request) string {
	life, text := time.Hour, s.text
	if s.life != nil {
		life = s.life()
	}
	if s.numbered {
		s.mu.Lock()
		text += fmt.Sprint(len(s.given) + 1)
		s.given[text] = time.Now().Add(life)
		s.mu.Unlock()
	}
	members := s.members
	switch {
	case members != "":
	case r.Method == http.MethodPost:
		members = fmt.Sprintf(`"expires_in":%d`, int(life.Seconds()))
	default:
		members = fmt.Sprintf(`"expires_on":"%d"`, time.Now().Add(life-s.behind).Unix())
	}
	return fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer",%s}`, text, members)
}

// valid tells whether the site takes a numbered token.
func (s *site) valid(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.given[token])
}

func refusal(r *http.Request, m mishap) *http.Response {
	body := `{"error":"temporarily_unavailable","error_description":"an outage"}`
	if m.status == http.StatusBadRequest {
		body = `{"error":"invalid_request","error_description":"AADSTS90002: Tenant not found.","error_codes":[90002]}`
	}
	resp := response(r, m.status, body)
	if m.retryAfter != "" {
		resp.Header.Set("Retry-After", m.retryAfter)
	}
	return resp
}

// metadataOf is what MSAL wants to know of a tenant, whatever its options.
func metadataOf(r *http.Request) string {
	tenant, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return strings.ReplaceAll(`{"issuer":"BASE/v2.0","token_endpoint":"BASE/oauth2/v2.0/token",`+
		`"authorization_endpoint":"BASE/authorize"}`, "BASE", "https://"+r.URL.Host+"/"+tenant)
}

// rest sleeps unless the context ends before.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errReset = &net.OpError{Op: "read", Net: "tcp", Err: errors.Join(os.NewSyscallError("read", syscall.ECONNRESET))}
