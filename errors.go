package managedid

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// AuthenticationFailedError says that a credential is configured and was refused or got no token.
// A chain stops at this error. It matches [context.Canceled] or [context.DeadlineExceeded] only
// when the context that was given to GetToken has ended.
type AuthenticationFailedError struct {
	// RawResponse is the endpoint's last answer, with a body of its own to read. Its request has
	// neither body nor secret headers. Nil where the failure has no answer, or one with a 2xx status.
	RawResponse *http.Response `json:"-"`
	// Reason is the kind of failure; zero when unknown.
	Reason Reason
	// RetryAfter is the earliest time at which the endpoint will be asked again; zero unless it throttles.
	RetryAfter time.Time

	message  string
	cause    error                 // the caller's context error or nil, so that no other error matches it
	response func() *http.Response // makes RawResponse for each copy
}

// Error returns one line whose text is stable: identifiers and times are in fields only. It ends with the address of its Reason's
// [Reason.Help].
func (e *AuthenticationFailedError) Error() string {
	if e == nil { // a transport's typed nil
		return "authentication failed"
	}
	return cmp.Or(e.message, "authentication failed") + e.Reason.see() // a program's own may have no message
}

// Unwrap returns the error of the caller's context where that has ended, else nil.
func (e *AuthenticationFailedError) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.cause
}

// NonRetriable keeps an SDK's retry policy from repeating what this package has retried already.
func (*AuthenticationFailedError) NonRetriable() {}

// CredentialUnavailableError says that a credential isn't configured or its endpoint isn't there.
// A chain that gets it asks its next link.
type CredentialUnavailableError struct {
	// Reason is the kind of failure; zero when unknown.
	Reason Reason
	// Links has the error of each link, in order, where a whole chain is unavailable.
	Links []error

	message    string
	unanswered string // why no answer came, if none did; to a caller who knows that the endpoint is there, it is not ready
	silent     bool   // its silence is all that shows that the endpoint isn't there, which proves nothing
}

// NewCredentialUnavailableError makes the error by which a link of one's own tells a chain to go on.
func NewCredentialUnavailableError(message string) error {
	return &CredentialUnavailableError{message: message}
}

// Error returns one line; a chain's has the lines of its links, joined by "; ". It ends with the address of its Reason's
// [Reason.Help], where there is a Reason.
func (e *CredentialUnavailableError) Error() string {
	if e == nil { // a transport's typed nil
		return "the credential is unavailable"
	} else if e.Reason == "" { // a link of the user's own
		return e.message
	}
	return e.message + e.Reason.see()
}

// lineOf returns an error's line as a part of another, which has the address of help itself.
func lineOf(err error) string { return oneLine(seeHelp.ReplaceAllString(err.Error(), "")) }

// NonRetriable keeps an SDK's retry policy from repeating what this package has retried already.
func (*CredentialUnavailableError) NonRetriable() {}

// misconfigured is the error of a constructor.
func misconfigured(name, problem string) error {
	return &AuthenticationFailedError{Reason: ReasonConfiguration, message: name + ": " + problem}
}

// copyError gives each receiver of a shared failure a value, and a body reader, of its own.
func copyError(err error) error {
	switch e := err.(type) {
	case *AuthenticationFailedError:
		if e == nil {
			return &AuthenticationFailedError{}
		}
		c := *e
		if c.response != nil {
			c.RawResponse = c.response()
		}
		return &c
	case *CredentialUnavailableError:
		if e == nil {
			return &CredentialUnavailableError{}
		}
		c := *e
		return &c
	}
	return err
}

// ReasonOf returns the Reason of an error of either type of this package, however it is wrapped, "" for any other error.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*AuthenticationFailedError](err); ok && e != nil {
		return e.Reason
	}
	if e, ok := errors.AsType[*CredentialUnavailableError](err); ok && e != nil {
		return e.Reason
	}
	return ""
}

// answer is what an endpoint said, as far as an error may quote it.
type answer struct {
	status      int
	header      http.Header
	oauth       bool   // has OAuth's "error" as a string
	code        string // that, or the code nested in it
	description string // in one line, without trace id and time
	codes       []int  // Entra's
	isToken     bool   // has a field that only token answers have
	isMetadata  bool   // has the field of an OpenID document that names where tokens are
}

// readAnswer looks at a downloaded response. Forms seen: {"error":"…","error_description":"…"} (IMDS, Entra),
// {"statusCode":400,"message":"…"} (App Service), {"error":{"code":"…","message":"…"}} (Service Fabric, Cloud Shell).
// None of the secrets is quoted, should the endpoint repeat what it was sent.
func readAnswer(resp *http.Response, secrets ...string) answer {
	a := answer{status: resp.StatusCode, header: resp.Header}
	body, err := runtime.Payload(resp)
	if err != nil {
		return a
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(bytes.TrimPrefix(body, bom), &fields) != nil {
		return a
	}
	text := func(fields map[string]json.RawMessage, name string) (s string) {
		_ = json.Unmarshal(fields[name], &s)
		return s
	}
	for _, name := range []string{"access_token", "expires_in", "expires_on"} {
		_, has := fields[name]
		a.isToken = a.isToken || has
	}
	a.isMetadata = text(fields, "token_endpoint") != ""
	a.code, a.description = text(fields, "error"), text(fields, "error_description")
	a.oauth = a.code != ""
	_ = json.Unmarshal(fields["error_codes"], &a.codes)
	var nested map[string]json.RawMessage
	if json.Unmarshal(fields["error"], &nested) == nil {
		a.code, a.description = text(nested, "code"), text(nested, "message")
	}
	if a.description == "" {
		a.description = text(fields, "message")
	}
	a.code, a.description = quotable(a.code, secrets...), quotable(a.description, secrets...)
	return a
}

// String is the part of an error's line that quotes the endpoint: "400 Bad Request, invalid_request: Identity not found".
func (a answer) String() string {
	var b strings.Builder
	b.WriteString(statusLine(a.status))
	if a.code != "" {
		b.WriteString(", " + a.code)
	}
	if a.description != "" && a.status/100 != 2 {
		b.WriteString(": " + a.description)
	}
	return b.String()
}

func statusLine(code int) string {
	return strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code))
}

// oneLine makes a text from elsewhere a part of an error's line.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(redacted(s), "\ufffd"), func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }), " ")
}

// redacted takes the secrets out of a text, and whatever looks like a JWT: its header is an object in base64 (RFC 7519, section 3).
func redacted(s string, secrets ...string) string {
	for _, secret := range secrets {
		s = strings.ReplaceAll(s, secret, "REDACTED")
	}
	return jwt.ReplaceAllString(s, "REDACTED")
}

var jwt = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]*`)

// quotable makes an endpoint's text fit into an error's line, and the same each time: Entra puts
// identifiers and times behind "Trace ID:", and times behind "Current time:". All that is looked for in the line too, since
// that has one blank where the text may have had a line break.
func quotable(s string, secrets ...string) string {
	s = strings.ToValidUTF8(redacted(oneLine(redacted(s, secrets...)), secrets...), "\ufffd")
	s, _, _ = strings.Cut(s, "Trace ID:")
	s, _, _ = strings.Cut(s, "Current time:")
	s = strings.TrimSpace(s)
	const limit = 400
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

const notAPath = "(not a path, so not shown)"

// shownPath returns a path for a line, unless it is something else in its place, perhaps a key or a token.
func shownPath(path string) string {
	if len(path) > 400 || strings.Contains(path, "-----BEGIN") || strings.ContainsFunc(path, unicode.IsControl) || jwt.MatchString(path) {
		return notAPath
	}
	return oneLine(path)
}

// transportError keeps a transport's own text out of logs and spans: net/http quotes what it could not parse.
type transportError struct {
	err   error
	cause string
	begun *answer // what had come of an answer before, or nil
}

func newTransportError(err error, req *http.Request) transportError {
	return transportError{err: err, cause: transportCause(err, secrets(req)...)}
}

func (e transportError) Error() string { return e.cause }
func (e transportError) Unwrap() error { return e.err }

const noAnswerInTime = "no answer in time"

// transportCause is the stable part of a transport's error: no address, port, URL or time, and nothing that was received.
func transportCause(err error, secrets ...string) string {
	if e, ok := errors.AsType[transportError](err); ok {
		return e.cause
	}
	var netErr net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout() {
		return noAnswerInTime
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "the host's name can't be resolved"
	}
	if _, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return "the endpoint's certificate is not valid"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok { // whose own text may quote a certificate
		return "tls: failed to verify certificate: x509: certificate signed by unknown authority"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		inner := op.Err
		for next := errors.Unwrap(inner); next != nil; next = errors.Unwrap(inner) {
			inner = next
		}
		return op.Op + ": " + oneLine(redacted(inner.Error(), secrets...))
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	text, _, _ := strings.Cut(oneLine(redacted(err.Error(), secrets...)), `"`)
	if before, _, malformed := strings.Cut(text, "malformed"); malformed {
		text = before + "malformed answer"
	}
	return strings.TrimRight(text, " :")
}

// responseMaker returns a function that makes copies of a failed response, each with a reader of its own, without the secrets
// that the endpoint repeats, and with a request that carries no body, no context and none of the secret headers.
func responseMaker(resp *http.Response, body []byte, secrets ...string) func() *http.Response {
	body = []byte(redacted(string(body), secrets...))
	return func() *http.Response {
		c := *resp
		c.Header = resp.Header.Clone()
		c.Body, c.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		c.TLS, c.Trailer, c.TransferEncoding = nil, nil, nil
		if r := resp.Request; r != nil {
			header := r.Header.Clone()
			for _, name := range secretHeaders {
				header.Del(name)
			}
			u := *r.URL
			c.Request = &http.Request{Method: r.Method, URL: &u, Host: r.Host, Header: header, Proto: r.Proto,
				ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor}
		}
		return &c
	}
}
