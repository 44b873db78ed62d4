package managedidtest

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var deliveries = []struct {
	name  string
	fault Fault
	body  string
	err   error // nil: none
}{
	{"as announced", Fault{Body: "0123456789"}, "0123456789", nil},
	{"slow", Fault{Body: "012", Pace: time.Millisecond}, "012", nil},
	{"in chunks", Fault{Body: "0123456789", Length: -1}, "0123456789", nil},
	{"less than announced", Fault{Body: "0123456789", Length: 12}, "0123456789", io.ErrUnexpectedEOF},
	{"more than announced", Fault{Body: "0123456789", Length: 4}, "0123", nil},
	{"cut", Fault{Body: "0123456789", Cut: 4}, "0123", io.ErrUnexpectedEOF},
	{"cut behind its end", Fault{Body: "0123456789", Cut: 40}, "0123456789", nil},
	{"reset within", Fault{Body: "0123456789", Cut: 4, Reset: true}, "0123", syscall.ECONNRESET},
	{"reset in chunks", Fault{Body: "0123456789", Cut: 4, Reset: true, Length: -1}, "0123", syscall.ECONNRESET},
}

func TestDelivery_isTheSameOverSocketsAndWithout(t *testing.T) {
	s := NewServer(nil)
	defer s.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, row := range deliveries {
		for name, do := range map[string]func(*http.Request) (*http.Response, error){"sockets": client.Do,
			"none": New(nil).Do} {
			t.Run(row.name+" "+name, func(t *testing.T) {
				e := s.Emulator
				if name == "none" {
					e = New(nil)
					do = e.Do
				}
				e.ClearFaults()
				e.Inject(row.fault)
				resp, err := do(newGet(t, e, IMDS))
				require.NoError(t, err)
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, resp.Body.Close())
				// A reset may overtake the bytes that were sent before it.
				if name == "none" || row.err != syscall.ECONNRESET {
					require.Equal(t, row.body, string(body))
				}
				require.True(t, errors.Is(err, row.err), "%v", err)
			})
		}
	}
}

func TestDelivery_resetBehindTheWholeBody(t *testing.T) {
	e := New(nil)
	e.Inject(Fault{Body: "0123456789", Cut: 99, Reset: true})
	resp, err := e.Do(newGet(t, e, IMDS))
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err, "a client that has what was announced reads no further")
	require.Equal(t, "0123456789", string(body))
}

func TestDelivery_ofANormalAnswer(t *testing.T) {
	e := New(nil)
	e.Inject(Fault{Cut: 20})
	resp, err := e.Do(newGet(t, e, IMDS))
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.True(t, strings.HasPrefix(string(body), `{"access_token":"`))
	require.Len(t, body, 20)
}

func TestDelivery_paceIsOfEachByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(nil)
		e.Inject(Fault{Body: strings.Repeat("x", 60), Pace: time.Second})
		began := time.Now()
		resp, err := e.Do(newGet(t, e, IMDS))
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.Equal(t, time.Minute, time.Since(began))
	})
}

func TestDelivery_endsWithTheServer(t *testing.T) {
	s := NewServer(nil)
	s.Inject(Fault{Body: "01", Pace: time.Hour})
	failed := make(chan error)
	go func() {
		resp, err := http.Get(s.URL + "/" + imdsPath)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
		}
		failed <- err
	}()
	for len(s.Requests()) == 0 {
		time.Sleep(time.Millisecond)
	}
	s.Close()
	require.Error(t, <-failed)
}
