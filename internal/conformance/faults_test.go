package conformance

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/managedidtest"
)

// faultRow is a fault of a kind. All that is set happens at once.
type faultRow struct {
	name    string
	fault   managedidtest.Fault
	options managedidtest.Options // of the emulator
	// dial is what happens to a connection some time after the fault began, before it is made.
	dial func(ctx context.Context, after time.Duration) error
	// certificate is the server's: one of faultCertificates, "none" for no TLS, or "silent" for no word at all.
	certificate string
	version     uint16 // the newest of TLS; zero: Go's
	// alter changes an answer with a token.
	alter  func(fields map[string]json.RawMessage, body []byte) []byte
	secure bool // only where there is TLS
	id     bool // only where an identity is asked for by its client ID
}

func status(code int, header ...string) managedidtest.Fault {
	f := managedidtest.Fault{Status: code, Header: http.Header{}}
	for i := 0; i+1 < len(header); i += 2 {
		f.Header.Add(header[i], header[i+1])
	}
	return f
}

func body(s string) managedidtest.Fault { return managedidtest.Fault{Status: 200, Body: s} }

func chunked(s string) managedidtest.Fault {
	return managedidtest.Fault{Status: 200, Body: s, Length: -1}
}

func encoded(encoding, s string) managedidtest.Fault {
	return managedidtest.Fault{Status: 200, Body: s, Header: http.Header{"Content-Encoding": {encoding}}}
}

// bomb is an answer that grows to 100 MB.
func bomb() string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(make([]byte, 100_000_000))
	_ = w.Close()
	return b.String()
}

const (
	html     = "<!DOCTYPE html><html><head><title>Sign in to the network</title></head><body>Welcome</body></html>"
	anyToken = `{"access_token":"` + secretToken + `","expires_in":"3600","expires_on":"4102444800"}`
)

// always is a connection that fails the same way each time.
func always(err error) func(context.Context, time.Duration) error {
	return func(context.Context, time.Duration) error { return err }
}

// lost is a connection whose packets nobody answers, within the time that the library's dialer allows.
func lost(ctx context.Context, _ time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(10 * time.Second):
		return os.ErrDeadlineExceeded
	}
}

func upAfter(d time.Duration) func(context.Context, time.Duration) error {
	return func(_ context.Context, after time.Duration) error {
		if after < d {
			return syscall.ECONNREFUSED
		}
		return nil
	}
}

// with sets fields of the answer. "" takes one away.
func with(values ...string) func(map[string]json.RawMessage, []byte) []byte {
	return func(fields map[string]json.RawMessage, _ []byte) []byte {
		for i := 0; i < len(values); i += 2 {
			if fields[values[i]] = json.RawMessage(values[i+1]); values[i+1] == "" {
				delete(fields, values[i])
			}
		}
		b, _ := json.Marshal(fields)
		return b
	}
}

// clock is a host whose clock is wrong by d: so are the times in its answers, but not the durations.
func clock(d time.Duration) func(map[string]json.RawMessage, []byte) []byte {
	return func(fields map[string]json.RawMessage, body []byte) []byte {
		raw, has := fields["expires_on"]
		if !has {
			return body
		}
		at, _ := answer.ExpiresOn(raw)
		return with("expires_on", strconv.FormatInt(at.Add(d).Unix(), 10))(fields, body)
	}
}

// rewritten changes the text of an answer.
func rewritten(change func(string) string) func(map[string]json.RawMessage, []byte) []byte {
	return func(_ map[string]json.RawMessage, body []byte) []byte { return []byte(change(string(body))) }
}

// faultRows are all faults but plain statuses.
var faultRows = sync.OnceValue(func() []faultRow {
	size := 1_500_000 // half as much again as is read
	if *full {
		size = 100_000_000
	}
	huge, grows := strings.Repeat("x", size), bomb()
	rows := []faultRow{
		{name: "200 with nothing", fault: managedidtest.Fault{Status: 200}},
		{name: "204 no content", fault: status(204)},
		{name: "206 with a part of the token's JSON", fault: managedidtest.Fault{Status: 206, Body: anyToken[:40]}},
		{name: "JSON that ends too early", fault: body(anyToken[:len(anyToken)-9])},
		{name: "100 MB, announced", fault: body(huge)},
		{name: "100 MB, in chunks", fault: chunked(huge)},
		{name: "100 MB in 100 KB of gzip", fault: encoded("gzip", grows)},
		{name: "a refusal of 100 MB", fault: managedidtest.Fault{Status: 400, Body: huge}},
		{name: "a byte a second", fault: managedidtest.Fault{Pace: time.Second}},
		{name: "binary", fault: body("\x00\x01\xfe\xff" + strings.Repeat("\x80", 500))},
		{name: "HTML", fault: body(html)},
		{name: "HTML of something else", fault: managedidtest.Fault{Status: 200, Body: html, Header: http.Header{"Server": {"captive"}, "Content-Type": {"text/html"}}}},
		{name: "403 of something else", fault: managedidtest.Fault{Status: 403, Body: html, Header: http.Header{"Server": {"squid"}, "Content-Type": {"text/html"}}}},
		{name: "JSON nested 100,000 deep", fault: body(strings.Repeat("[", 100_000))},
		{name: "token within JSON nested 20,000 deep", fault: body(`{"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "," + anyToken[1:])},
		{name: "each key twice", alter: rewritten(func(s string) string { return strings.TrimSuffix(s, "}") + "," + s[1:] })},
		{name: "the answer twice", alter: rewritten(func(s string) string { return s + s })},
		{name: "a second access_token of another type", alter: rewritten(func(s string) string { return strings.TrimSuffix(s, "}") + `,"access_token":{}}` })},
		{name: "null", fault: body("null")},
		{name: "array of a token", fault: body("[" + anyToken + "]")},
		{name: "no access_token", alter: with("access_token", "")},
		{name: "empty access_token", alter: with("access_token", `""`)},
		{name: "access_token of blanks", alter: with("access_token", `" \n"`)},
		{name: "access_token is a number", alter: with("access_token", `7`)},
		{name: "no expiry", alter: with("expires_on", "", "expires_in", "")},
		{name: "expiry is nonsense", alter: with("expires_on", `"soon"`, "expires_in", `"-1"`)},
		{name: "byte order mark", alter: rewritten(func(s string) string { return "\ufeff" + s })},
		{name: "announced shorter than it is", fault: managedidtest.Fault{Status: 200, Body: anyToken, Length: 20}},
		{name: "announced longer than it is", fault: managedidtest.Fault{Status: 200, Body: anyToken, Length: 5000}},
		{name: "gzip that is none", fault: encoded("gzip", anyToken)},
		{name: "gzip that is cut", fault: encoded("gzip", grows[:500])},
		{name: "an encoding that nobody asked for", fault: encoded("br", anyToken)},
		{name: "reset before the answer", fault: managedidtest.Fault{Reset: true}},
		{name: "closed in the body", fault: managedidtest.Fault{Cut: 30}},
		{name: "reset in the body", fault: managedidtest.Fault{Cut: 30, Reset: true}},
		{name: "reset behind the body", fault: managedidtest.Fault{Cut: 1 << 20, Reset: true}},
		{name: "answered after 30 s", fault: managedidtest.Fault{Delay: 30 * time.Second}},
		{name: "answered after 10 min", fault: managedidtest.Fault{Delay: 10 * time.Minute}},
		{name: "refused", dial: always(syscall.ECONNREFUSED)},
		{name: "refused, up after 5 s", dial: upAfter(5 * time.Second)},
		{name: "refused, up after 55 s", dial: upAfter(55 * time.Second)},
		{name: "no route", dial: always(syscall.ENETUNREACH)},
		{name: "no answer to the connection", dial: lost},
		{name: "unknown host name", dial: always(&net.DNSError{Err: "no such host", Name: "host", IsNotFound: true})},
		{name: "name server doesn't answer", dial: always(&net.DNSError{Err: "i/o timeout", Name: "host", IsTimeout: true, IsTemporary: true})},
		{name: "too many open files", dial: always(syscall.EMFILE)},
		{name: "an error of no known kind", dial: always(errors.New("odd"))},
		{name: "TLS: unknown authority", certificate: "unknown", secure: true},
		{name: "TLS: expired", certificate: "expired", secure: true},
		{name: "TLS: of another name", certificate: "other", secure: true},
		{name: "TLS: version 1.0", version: tls.VersionTLS10, secure: true},
		{name: "TLS: answers in clear", certificate: "none", secure: true},
		{name: "accepts and says nothing", certificate: "silent"},
		{name: "host's clock an hour ahead", alter: clock(time.Hour)},
		{name: "host's clock an hour behind", alter: clock(-time.Hour)},
		{name: "token expired an hour ago", options: managedidtest.Options{TokenLifetime: -time.Hour}},
		{name: "token of 1 s", options: managedidtest.Options{TokenLifetime: time.Second}},
		{name: "token of 10 years", options: managedidtest.Options{TokenLifetime: 10 * 365 * 24 * time.Hour}},
		{name: "token of another identity", alter: with("client_id", `"0b4ff0a1-0000-4000-8000-00000000dead"`), id: true},
	}
	return append(append(rows, redirects()...), throttlings()...)
})

func redirects() (rows []faultRow) {
	for _, code := range []int{301, 302, 303, 307, 308} {
		rows = append(rows, faultRow{name: fmt.Sprintf("%d to itself", code), fault: status(code, "Location", "?")},
			faultRow{name: fmt.Sprintf("%d to another host", code), fault: status(code, "Location", "http://192.0.2.1/")})
	}
	return rows
}

func throttlings() (rows []faultRow) {
	for _, code := range []int{429, 503} {
		for _, after := range []string{"-1", "0", "1", "5", "50", "119", "1.5", "1000000000000000000", "soon", "Fri, 14 Jul 1989 02:40:00 GMT", "Fri, 14 Jul 2217 02:40:00 GMT"} {
			rows = append(rows, faultRow{name: fmt.Sprintf("%d, Retry-After: %s", code, after), fault: status(code, "Retry-After", after)})
		}
		rows = append(rows, faultRow{name: fmt.Sprintf("%d, x-ms-retry-after-ms: 1500", code), fault: status(code, "x-ms-retry-after-ms", "1500")})
	}
	once := status(429, "Retry-After", "30")
	once.Count = 1
	return append(rows, faultRow{name: "429 once, Retry-After: 30", fault: once})
}
