package managedidtest

import (
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIMDS_throttlesThe21stRequestOfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(nil)
		require.Equal(t, 200, status(t, e))
		time.Sleep(400 * time.Millisecond)
		for range 19 {
			require.Equal(t, 200, status(t, e))
		}
		code, header, body := send(t, e, newGet(t, e, IMDS))
		require.Equal(t, http.StatusTooManyRequests, code)
		require.Equal(t, `{"error":"too_many_requests",`+
			`"error_description":"Temporarily throttled, too many requests"}`, body)
		checkIMDSHeader(t, header)
		require.Empty(t, header.Get("Retry-After"))

		time.Sleep(600*time.Millisecond - time.Nanosecond)
		require.Equal(t, 429, status(t, e), "a nanosecond before the first one is a second old")
		time.Sleep(time.Nanosecond)
		require.Equal(t, 200, status(t, e))
		require.Equal(t, 429, status(t, e), "the second is a sliding one")
		time.Sleep(400 * time.Millisecond)
		for range 19 {
			require.Equal(t, 200, status(t, e), "those that were throttled don't count")
		}
		require.Equal(t, 429, status(t, e))
	})
}

func TestIMDS_throttlesTheSixthAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(nil)
		e.Inject(Fault{Endpoint: IMDS, Count: 5, Delay: time.Second})
		var five sync.WaitGroup
		for range 5 {
			five.Go(func() { assert.Equal(t, 200, status(t, e)) })
		}
		synctest.Wait()
		require.Equal(t, 429, status(t, e))
		getToken(t, e, AppService) // App Service has no limit
		time.Sleep(time.Second - time.Nanosecond)
		require.Equal(t, 429, status(t, e))
		five.Wait()
		require.Equal(t, 200, status(t, e))
	})
}

func TestIMDS_slotIsFreeWhenTheClientHasItsAnswer(t *testing.T) {
	srv := newServer(t, nil)
	var clients sync.WaitGroup
	turns := make(chan struct{}, maxAtOnce)
	for range maxPerSecond { // keeps the other limit out of the test at any speed
		turns <- struct{}{}
		clients.Go(func() {
			defer func() { <-turns }()
			resp, err := srv.Client().Do(newGet(t, srv.Emulator, IMDS))
			if assert.NoError(t, err) {
				resp.Body.Close()
				assert.Equal(t, 200, resp.StatusCode)
			}
		})
	}
	clients.Wait()
}

func TestIMDS_limitsCountFaultsAndFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(nil)
		e.Inject(Fault{Count: 5, Refused: true})
		e.Inject(Fault{Count: 5, Status: 500})
		e.Inject(Fault{Count: 5, Reset: true})
		for range 5 {
			_, err := e.Do(newGet(t, e, IMDS))
			require.Error(t, err)
		}
		for range 5 {
			require.Equal(t, 500, status(t, e))
		}
		for range 5 {
			_, err := e.Do(newGet(t, e, IMDS))
			require.Error(t, err)
		}
		for range 10 {
			code, _, _ := send(t, e, newGet(t, e, IMDS, "resource"))
			require.Equal(t, 400, code)
		}
		require.Equal(t, 429, status(t, e))
	})
}

func TestIMDS_slotIsFreeAfterTheClientHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(nil)
		e.Inject(Fault{Count: 6, Delay: time.Hour})
		for range 6 {
			cancelled(t, e, time.Millisecond)
		}
		require.Equal(t, 200, status(t, e))
	})
}
