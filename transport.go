package managedid

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/internal/text"
)

// metadataClient sends requests to endpoints on the host. It uses no proxy: the documentation of the Instance Metadata
// Service forbids one.
var metadataClient = newHTTPClient(nil)

// entraClient sends requests to Entra. It uses the proxy that the environment names.
var entraClient = newHTTPClient(http.ProxyFromEnvironment)

// newHTTPClient returns a client that follows no redirects, because net/http would send a secret to the new address. It
// keeps no idle connections: requests are rare, and a connection may die unnoticed.
func newHTTPClient(proxy func(*http.Request) (*url.URL, error)) *http.Client {
	return &http.Client{
		CheckRedirect: noRedirects,
		Transport: &http.Transport{
			Proxy:               proxy,
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second,
			DisableKeepAlives:   true,

			MaxResponseHeaderBytes: 64 << 10,
		},
	}
}

func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// capped wraps the user's transport, or the default. shown reports whether the transport shows when it has a
// connection.
func capped(t policy.Transporter, otherwise *http.Client, log recorder) (_ policy.Transporter, shown bool) {
	switch t := t.(type) {
	case nil:
		return cappedTransport{otherwise, log}, true
	case *http.Client:
		if t == nil {
			return cappedTransport{otherwise, log}, true
		}
		c := *t
		c.CheckRedirect = noRedirects
		_, known := t.Transport.(*http.Transport)
		return cappedTransport{&c, log}, known || t.Transport == nil
	default:
		return cappedTransport{t, log}, false
	}
}

// cappedTransport reads at most answer.MaxBody bytes of each answer. It hides the text of the transport's errors, and
// returns its panics as errors.
type cappedTransport struct {
	policy.Transporter
	log recorder
}

func (t cappedTransport) Do(req *http.Request) (*http.Response, error) {
	return guard(t.log, "the transport "+t.name(), crashedIn(req.Context()), func() (*http.Response, error) {
		req, err := withBodyCopy(req)
		if err != nil {
			return nil, newTransportError(err, req)
		}
		resp, err := t.Transporter.Do(req)
		if err != nil {
			return nil, newTransportError(err, req)
		}
		if begun, ok := req.Context().Value(begunKey{}).(*atomic.Pointer[answer.Answer]); ok && resp != nil &&
			resp.StatusCode/100 == 2 {
			begun.Store(&answer.Answer{Status: resp.StatusCode, Header: resp.Header.Clone()})
		}
		return download(resp, req)
	})
}

// begunKey is the context key of the place for the head of an answer. It is there even if the body takes too long.
type begunKey struct{}

// name returns the type of the transport that the user gave.
func (t cappedTransport) name() string {
	if c, ok := t.Transporter.(*http.Client); ok && c.Transport != nil {
		return fmt.Sprintf("%T", c.Transport)
	}
	return fmt.Sprintf("%T", t.Transporter)
}

// withBodyCopy returns the request with a copy of its body. azcore's GetBody rewinds the original body, which net/http
// may still be reading after a redirect or on a dead connection.
func withBodyCopy(req *http.Request) (*http.Request, error) {
	if req.Body == nil {
		return req, nil
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return req, err
	}
	req = req.WithContext(req.Context())
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Body, err = req.GetBody()
	return req, err
}

// download reads the body while the request's context lives. It removes the request's secrets from the status and the
// headers, because azcore logs and traces these.
func download(resp *http.Response, req *http.Request) (*http.Response, error) {
	if resp == nil {
		return nil, errNothing
	} else if resp.Body == nil {
		return resp, nil
	}
	defer resp.Body.Close()
	if secrets := secrets(req); len(secrets) > 0 {
		resp.Status = text.Redact(resp.Status, secrets...)
		for _, values := range resp.Header {
			for i, v := range values {
				values[i] = text.Redact(v, secrets...)
			}
		}
	}
	var body []byte
	err := answer.ErrTooLarge
	if resp.ContentLength <= answer.MaxBody {
		body, err = answer.ReadBody(resp.Body)
	}
	if err == answer.ErrTooLarge {
		err = verdict{reason: ReasonMalformedAnswer, advice: err.Error()}
	}
	if err != nil && resp.StatusCode/100 == 2 {
		e := newTransportError(err, req)
		e.begun = &answer.Answer{Status: resp.StatusCode, Header: resp.Header}
		return nil, e
	} else if err != nil { // the status of a failure counts, even without its text
		body, resp.ContentLength = nil, 0
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// errNothing is the error for a transport or policy that returns neither an answer nor an error.
var errNothing = errors.New("neither an answer nor an error came back")

// isUntrusted reports whether a server's certificate was refused.
func isUntrusted(err error) bool {
	_, untrusted := asType[*tls.CertificateVerificationError](err)
	return untrusted
}

// transportError keeps the text of a transport's error out of logs and spans, because net/http quotes what it can't
// parse.
type transportError struct {
	err   error
	cause string
	begun *answer.Answer // the head of the answer, or nil if there was none
}

func newTransportError(err error, req *http.Request) transportError {
	return transportError{err: err, cause: transportCause(err, secrets(req)...)}
}

func (e transportError) Error() string { return e.cause }

func (e transportError) Unwrap() error { return e.err }

const noAnswerInTime = "no answer in time"

// transportCause returns the stable part of a transport's error. It has no address, port, URL or time, and nothing that
// was received.
func transportCause(err error, secrets ...string) string {
	if e, ok := asType[transportError](err); ok {
		return e.cause
	}
	var netErr net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout() {
		return noAnswerInTime
	}
	if _, ok := asType[*net.DNSError](err); ok {
		return "the host's name can't be resolved"
	}
	if _, ok := asType[x509.CertificateInvalidError](err); ok {
		return "the endpoint's certificate is not valid"
	}
	if _, ok := asType[x509.UnknownAuthorityError](err); ok { // its text may quote a certificate
		return "tls: failed to verify certificate: x509: certificate signed by unknown authority"
	}
	if op, ok := asType[*net.OpError](err); ok {
		inner := op.Err
		for next := errors.Unwrap(inner); next != nil; next = errors.Unwrap(inner) {
			inner = next
		}
		return op.Op + ": " + text.Line(text.Redact(inner.Error(), secrets...))
	}
	if u, ok := asType[*url.Error](err); ok {
		err = u.Err
	}
	line, _, _ := strings.Cut(text.Line(text.Redact(err.Error(), secrets...)), `"`)
	if before, _, malformed := strings.Cut(line, "malformed"); malformed {
		line = before + "malformed answer"
	}
	return strings.TrimRight(line, " :")
}

// keyedHash returns a name for a secret in a cache. Its key is random for each process, so the name reveals nothing.
func keyedHash(secret string) string {
	mac := hmac.New(sha256.New, []byte(hashKey()))
	mac.Write([]byte(secret))
	return hex.EncodeToString(mac.Sum(nil))
}

var hashKey = sync.OnceValue(rand.Text)

const identityHeader = "X-Identity-Header"

// secretHeaders are the headers that no log and no error shows.
var secretHeaders = []string{"Authorization", identityHeader, "Secret"}

// bodySecretsKey is the context key of the secrets in a request's body. Its value is a function, which fmt doesn't
// print.
type bodySecretsKey struct{}

func bodySecrets(req *http.Request) []string {
	if secrets, ok := req.Context().Value(bodySecretsKey{}).(func() []string); ok {
		return secrets()
	}
	return nil
}

// secrets returns the values of a request's secret headers and the secrets of its body, in all spellings.
func secrets(req *http.Request) []string {
	said := slices.Clone(bodySecrets(req))
	for _, name := range secretHeaders {
		said = append(said, req.Header.Get(name))
	}
	_, credential, _ := strings.Cut(req.Header.Get("Authorization"), " ") // without the scheme
	return text.Spellings(append(said, credential)...)
}
