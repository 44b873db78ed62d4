package managedidtest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// cancelled sends a request whose context ends after the duration.
func cancelled(t *testing.T, e *Emulator, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), after)
	defer cancel()
	_, err := e.Do(newGet(t, e, IMDS).WithContext(ctx))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestFault_byCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(nil)
		e.Inject(Fault{Count: 2, Status: 429})
		e.Inject(Fault{Count: 1, Status: 410})
		var got []int
		for range 4 {
			got = append(got, status(t, e))
		}
		require.Equal(t, []int{429, 429, 410, 200}, got)
	})
}

func TestFault_bySpan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(nil)
		e.Inject(Fault{For: time.Second, Status: 500})
		e.Inject(Fault{For: 2 * time.Second, Status: 503}) // also counted from Inject
		for _, want := range []int{500, 503, 200} {
			require.Equal(t, want, status(t, e))
			time.Sleep(time.Second - time.Nanosecond)
			require.Equal(t, want, status(t, e))
			time.Sleep(time.Nanosecond)
		}
	})
}

func TestFault_endsByCountOrSpan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(nil)
		e.Inject(Fault{For: time.Second, Count: 1, Status: 500})
		require.Equal(t, 500, status(t, e))
		require.Equal(t, 200, status(t, e))
		e.Inject(Fault{For: time.Second, Count: 1, Status: 500})
		time.Sleep(time.Second)
		require.Equal(t, 200, status(t, e))
	})
}

func TestFault_lastsUntilCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(nil)
		e.Inject(Fault{Status: 500})
		time.Sleep(24 * time.Hour)
		require.Equal(t, 500, status(t, e))
		e.ClearFaults()
		require.Equal(t, 200, status(t, e))
	})
}

func TestFault_atItsEndpoint(t *testing.T) {
	e := New(nil)
	e.Inject(Fault{Endpoint: AppService, Count: 1, Status: 500})
	require.Equal(t, 200, status(t, e))
	for _, want := range []int{500, 200} {
		code, _, _ := send(t, e, newGet(t, e, AppService))
		require.Equal(t, want, code)
	}
	e.Inject(Fault{Status: 500})
	for _, at := range []Endpoint{IMDS, AppService, Keys} {
		code, _, _ := send(t, e, newGet(t, e, at))
		require.Equal(t, 500, code)
	}
	code, _, _ := send(t, e, newGet(t, e, ""))
	require.Equal(t, 404, code, "an unknown path is no endpoint")
}

func TestFault_answers(t *testing.T) {
	tests := []struct {
		name   string
		fault  Fault
		status int
		body   string // prefix of the body
		server string
	}{
		{"status", Fault{Status: 404}, 404, "", "IMDS/150.870.65.1475"},
		{"status and body", Fault{Status: 500, Body: "x"}, 500, "x", "IMDS/150.870.65.1475"},
		{"body alone", Fault{Body: "<html>"}, 200, "<html>", "IMDS/150.870.65.1475"},
		{"another server", Fault{Status: 403, Header: http.Header{"Server": {"nginx"}}}, 403, "", "nginx"},
		{"no server", Fault{Status: 403, Header: http.Header{"server": nil}}, 403, "", ""},
		{"nothing", Fault{}, 200, `{"access_token":`, "IMDS/150.870.65.1475"},
		{"header alone", Fault{Header: http.Header{"Server": {"x"}}}, 200, `{"access_token":`, "x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := New(nil)
			e.Inject(tt.fault)
			code, header, body := send(t, e, newGet(t, e, IMDS))
			require.Equal(t, tt.status, code)
			require.True(t, strings.HasPrefix(body, tt.body) && (tt.body != "" || body == ""), body)
			require.Equal(t, tt.server, header.Get("Server"))
			require.True(t, e.Requests()[0].Fault)
		})
	}
}

func TestInject_panicsOnNonsense(t *testing.T) {
	for _, f := range []Fault{{Count: -1}, {For: -1}, {Delay: -1}, {Status: 99}, {Status: 100}, {Status: 600},
		{Status: -1}} {
		require.Panics(t, func() { New(nil).Inject(f) })
	}
}

func TestInject_copiesTheHeader(t *testing.T) {
	e := New(nil)
	f := Fault{Status: 500, Header: http.Header{"Server": {"a"}}}
	e.Inject(f)
	f.Header.Set("Server", "b")
	_, header, _ := send(t, e, newGet(t, e, IMDS))
	require.Equal(t, "a", header.Get("Server"))
}

func TestDo_delays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(nil)
		e.Inject(Fault{Delay: 3 * time.Second, Count: 2})
		begin := time.Now()
		require.Equal(t, 200, status(t, e))
		require.Equal(t, 3*time.Second, time.Since(begin))

		cancelled(t, e, time.Second)
		require.Equal(t, 4*time.Second, time.Since(begin))
		require.Equal(t, 0, e.Requests()[1].Status)

		e.Inject(Fault{Delay: time.Second, Count: 1, Status: 500})
		require.Equal(t, 500, status(t, e))
		e.Inject(Fault{Delay: time.Second, Count: 2, Refused: true})
		_, err := e.Do(newGet(t, e, IMDS))
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.Equal(t, 6*time.Second, time.Since(begin))
		cancelled(t, e, time.Millisecond)
	})
}

func TestDo_failsAsAConnectionDoes(t *testing.T) {
	tests := []struct {
		name      string
		fault     Fault
		text      string
		errno     syscall.Errno
		connected bool
	}{
		{"refused", Fault{Count: 1, Refused: true}, "dial tcp 169.254.169.254: connect: connection refused",
			syscall.ECONNREFUSED, false},
		{"reset", Fault{Count: 1, Reset: true}, "read tcp 169.254.169.254: read: connection reset by peer",
			syscall.ECONNRESET, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := New(nil)
			e.Inject(tt.fault)
			var connected, answered bool
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				GotConn:              func(httptrace.GotConnInfo) { connected = true },
				GotFirstResponseByte: func() { answered = true },
			})
			req := newGet(t, e, IMDS).WithContext(ctx)
			_, err := e.Do(req)
			require.EqualError(t, err, tt.text)
			require.ErrorIs(t, err, tt.errno)
			var op *net.OpError
			var call *os.SyscallError
			require.True(t, errors.As(err, &op) && errors.As(err, &call))
			require.Equal(t, tt.connected, connected)
			require.False(t, answered)
			require.Equal(t, tt.connected, len(e.Requests()) == 1, "a refused connection is not logged")

			resp, err := e.Do(req)
			require.NoError(t, err)
			require.Same(t, req, resp.Request)
			require.True(t, connected && answered)
		})
	}
}

func TestDo_leavesToAnEndedContext(t *testing.T) {
	e := New(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := e.Do(newGet(t, e, IMDS).WithContext(ctx))
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, e.Requests())
}

func TestDo_followsNoRedirect(t *testing.T) {
	e := New(nil)
	e.Inject(Fault{Count: 1, Status: 302, Header: http.Header{"Location": {"/elsewhere"}}})
	require.Equal(t, 302, status(t, e))
	require.Len(t, e.Requests(), 1)
}

type body struct {
	*strings.Reader
	closed bool
}

func (b *body) Close() error { b.closed = true; return nil }

func TestDo_readsAndClosesTheBody(t *testing.T) {
	e := New(nil)
	for _, f := range []Fault{{}, {Refused: true}} {
		e.ClearFaults()
		e.Inject(f)
		b := &body{Reader: strings.NewReader("resource=x")}
		req := newGet(t, e, IMDS)
		req.Method, req.Body = http.MethodPost, b
		resp, err := e.Do(req)
		require.True(t, b.closed)
		require.Equal(t, f.Refused, err != nil)
		if err == nil {
			require.Zero(t, b.Len())
			resp.Body.Close()
		}
	}
}

func TestDo_sendsNoBodyWithHEAD(t *testing.T) {
	e := New(nil)
	req := newGet(t, e, IMDS)
	req.Method = http.MethodHead
	code, _, body := send(t, e, req)
	require.Equal(t, 405, code)
	require.Empty(t, body)
}
