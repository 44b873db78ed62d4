package managedidtest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServer_answersOverSockets(t *testing.T) {
	srv := newServer(t, nil)
	require.Regexp(t, `^http://127\.0\.0\.1:\d+$`, srv.URL)
	code, header, body := send(t, srv.Client(), newGet(t, srv.Emulator, IMDS))
	require.Equal(t, 200, code)
	require.Contains(t, body, `"token_type":"Bearer"`)
	checkIMDSHeader(t, header)
	require.Equal(t, fmt.Sprint(len(body)), header.Get("Content-Length"))
	require.Equal(t, 200, srv.Requests()[0].Status)

	code, header, body = send(t, srv.Client(), newGet(t, srv.Emulator, ""))
	require.Equal(t, 404, code)
	require.Empty(t, body)
	require.Empty(t, header.Get("Server"))
}

func TestServer_takesWhatAProxyGets(t *testing.T) {
	srv := newServer(t, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET http://169.254.169.254/metadata/identity/oauth2/token/"+
		"?api-version=2018-02-01&resource=https://vault.azure.net HTTP/1.1\r\n"+
		"Host: 169.254.169.254\r\nMetadata: true\r\n\r\n")
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 200, resp.StatusCode)
}

func TestServer_sendsNoContentTypeOfItsOwn(t *testing.T) {
	srv := newServer(t, nil)
	srv.Inject(Fault{Status: 502, Body: "<html>", Header: http.Header{"Content-Type": nil}})
	_, header, _ := send(t, srv.Client(), newGet(t, srv.Emulator, IMDS))
	require.NotContains(t, header, "Content-Type")
}

func TestServer_resets(t *testing.T) {
	srv := newServer(t, nil)
	srv.Inject(Fault{Count: 1, Reset: true})
	_, err := srv.Client().Do(newGet(t, srv.Emulator, AppService))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.Zero(t, srv.Requests()[0].Status)
	code, _, _ := send(t, srv.Client(), newGet(t, srv.Emulator, AppService)) // leaves an idle connection
	require.Equal(t, 200, code)
}

func TestServer_refusesUntilCleared(t *testing.T) {
	srv := newServer(t, nil)
	url := srv.URL
	post := newGet(t, srv.Emulator, AppService)
	for range 2 {
		send(t, srv.Client(), newGet(t, srv.Emulator, AppService)) // leaves a connection
		srv.Inject(Fault{Endpoint: IMDS, Count: 1, Refused: true})
		for range 3 { // more often than Count
			post.Method = http.MethodPost // net/http does not repeat a POST on another connection
			_, err := srv.Client().Do(post)
			require.Error(t, err)
			_, err = net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
		}
		srv.ClearFaults()
		require.Equal(t, url, srv.URL)
	}
	send(t, srv.Client(), newGet(t, srv.Emulator, AppService))
	require.Len(t, srv.Requests(), 3)
}

func TestServer_refusesForAWhile(t *testing.T) {
	srv := newServer(t, nil)
	srv.Inject(Fault{For: time.Millisecond, Refused: true})
	srv.Inject(Fault{For: 20 * time.Millisecond, Refused: true})
	refused := 0
	for { // until it listens again
		conn, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
		if err == nil {
			conn.Close()
			break
		}
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		refused++
	}
	require.Positive(t, refused)
	code, _, _ := send(t, srv.Client(), newGet(t, srv.Emulator, AppService))
	require.Equal(t, 200, code)
}

func TestServer_waitsForItsAddress(t *testing.T) {
	srv := newServer(t, nil)
	srv.Inject(Fault{Refused: true})
	other, err := net.Listen("tcp", strings.TrimPrefix(srv.URL, "http://"))
	require.NoError(t, err)
	srv.ClearFaults()
	other.Close()
	for {
		resp, err := srv.Client().Do(newGet(t, srv.Emulator, AppService))
		if err == nil {
			resp.Body.Close()
			return
		}
	}
}

func TestServer_closes(t *testing.T) {
	for name, f := range map[string]Fault{
		"as it is":              {Status: 500},
		"while refusing":        {Refused: true},
		"while refusing a time": {Refused: true, For: time.Hour},
		"while delaying":        {Delay: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, nil)
			srv.NewResource(vault, nil)
			srv.Inject(f)
			if f.Delay > 0 {
				arrived := make(chan struct{})
				srv.s.options.OnRequest = func(Request) { close(arrived) } // runs when the connection is cut off
				go func() {
					resp, err := srv.Client().Do(newGet(t, srv.Emulator, AppService))
					if err == nil {
						resp.Body.Close()
					}
				}()
				for len(srv.Requests()) == 0 {
					runtime.Gosched()
				}
				srv.Close()
				<-arrived
			}
			srv.Close()
			srv.Close()
			srv.Inject(f)
			srv.ClearFaults()
			_, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
		})
	}
}

func TestListen_saysWhyNot(t *testing.T) {
	srv := newServer(t, nil)
	taken := &Options{Addr: strings.TrimPrefix(srv.URL, "http://")}
	_, err := Listen(taken)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.Panics(t, func() { NewServer(taken) })
}

func TestServer_hasAnAddressToDial(t *testing.T) {
	for addr, want := range map[string]string{
		"0.0.0.0:80": "127.0.0.1:80", "[::]:80": "127.0.0.1:80", "[::1]:80": "[::1]:80", "10.0.0.1:80": "10.0.0.1:80",
	} {
		a, err := net.ResolveTCPAddr("tcp", addr)
		require.NoError(t, err)
		require.Equal(t, want, reachable(a))
	}
}

// The emulator is a handler of a server that does not allow a reset.
func TestServeHTTP_resetsAsWellAsItCan(t *testing.T) {
	e := New(nil)
	e.Inject(Fault{Reset: true, Count: 1})
	e.Inject(Fault{Refused: true, Count: 1})
	for range 2 {
		require.PanicsWithValue(t, http.ErrAbortHandler, func() {
			e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/msi/token", nil))
		})
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest("GET", "/msi/token", nil))
	require.Equal(t, 403, w.Code)
}
