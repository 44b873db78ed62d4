package testkit

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// TransportFunc is a [policy.Transporter].
type TransportFunc func(*http.Request) (*http.Response, error)

func (f TransportFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

// PolicyFunc is a [policy.Policy].
type PolicyFunc func(*policy.Request) (*http.Response, error)

func (f PolicyFunc) Do(r *policy.Request) (*http.Response, error) { return f(r) }

// InPolicy are options for sources that take no transport of any kind: a policy answers in its place.
func InPolicy(t policy.Transporter) azcore.ClientOptions {
	return azcore.ClientOptions{PerRetryPolicies: []policy.Policy{PolicyFunc(func(r *policy.Request) (*http.Response, error) { return t.Do(r.Raw()) })}}
}

// NoRetries makes each call one try.
var NoRetries = azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}

// Record makes a Transporter that keeps each request and gives a token for it.
func Record(requests *[]*http.Request) azcore.ClientOptions {
	return azcore.ClientOptions{Transport: TransportFunc(func(r *http.Request) (*http.Response, error) {
		*requests = append(*requests, r)
		return IMDSToken(r, time.Hour), nil
	})}
}

// Respond makes an answer; header is name, value, name, value, …
func Respond(r *http.Request, status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Status: strings.TrimSpace(fmt.Sprint(status, " ", http.StatusText(status))), Header: h, Request: r,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

// TokenBody is the JSON of a token as IMDS has it.
func TokenBody(resource string, expires time.Time) string {
	return fmt.Sprintf(`{"access_token":%q,"expires_on":"%d","resource":%q,"token_type":"Bearer"}`, SecretToken, expires.Unix(), resource)
}

// ErrRefused is that of a port where nobody listens.
var ErrRefused = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}

// Delayed waits for d or until the request's context has ended.
func Delayed(r *http.Request, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

// Script answers the n-th request (from 0), or returns nil for a token of an hour.
type Script func(n int, r *http.Request) (*http.Response, error)

// AnswerWith answers each request the same.
func AnswerWith(status int, body string) Script {
	return func(n int, r *http.Request) (*http.Response, error) { return Respond(r, status, body), nil }
}

// ThrottledOnce answers the first request with 429 and the header, then with tokens.
func ThrottledOnce(header ...string) Script {
	return func(n int, r *http.Request) (*http.Response, error) {
		if n > 0 {
			return nil, nil
		}
		return IMDSStatus(r, http.StatusTooManyRequests, header...), nil
	}
}

// Switched refuses connections until it is on.
func Switched(on *atomic.Bool) Script {
	return func(int, *http.Request) (*http.Response, error) {
		if !on.Load() {
			return nil, ErrRefused
		}
		return nil, nil
	}
}
