package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// endpoint answers each request with a new token, as IMDS or App Service, where the emulator would give one that it
// has.
type endpoint struct {
	token     string
	lifetime  time.Duration
	refreshIn time.Duration // zero: the answer has none
	delay     time.Duration
	down      atomic.Bool // refuses connections
	requests  atomic.Int64
}

func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	e.requests.Add(1)
	if e.down.Load() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	if e.delay > 0 {
		select {
		case <-time.After(e.delay):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	body := fmt.Sprintf(`{"access_token":%q,"expires_on":"%d","token_type":"Bearer"`,
		e.token, time.Now().Add(e.lifetime).Unix())
	if e.refreshIn > 0 {
		body += fmt.Sprintf(`,"refresh_in":%d`, int(e.refreshIn.Seconds()))
	}
	return response(r, http.StatusOK, body+"}"), nil
}

func response(r *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: int64(len(body)),
		Header: http.Header{"Server": {"IMDS/150.870.65.1475"}, "Content-Type": {"application/json"}},
		Body:   io.NopCloser(strings.NewReader(body))}
}

// key is a scope with what a call needs, so that a measurement allocates nothing of its own.
type key struct{ opts policy.TokenRequestOptions }

func newKey(name string, i int) key {
	name = strings.NewReplacer(" ", "-", "/", "-").Replace(strings.ToLower(name)) // a library's name may be part of it
	return key{policy.TokenRequestOptions{Scopes: []string{fmt.Sprintf("https://%s-%d.example/.default", name, i)}}}
}

// measure runs f in fake time, which costs none, or in real time where the library would stop fake time.
func measure(t *testing.T, real bool, f func(t *testing.T)) {
	t.Helper()
	if real {
		t.Run("", f)
		return
	}
	synctest.Test(t, func(t *testing.T) {
		f(t)
		time.Sleep(5 * time.Minute) // what is still under way ends
	})
}

// insist asks until there is a token: a caller who gets an error asks again a second later.
func insist(ctx context.Context, c azcore.TokenCredential, k key) error {
	for {
		_, err := c.GetToken(ctx, k.opts)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
}
