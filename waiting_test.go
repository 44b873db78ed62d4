package managedid

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestThrottle_aRequestBehindAnOpenGateWaitsForItsTurnHoweverLong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := &endpoint{gate: gate{closings: 1, underway: 2}} // one was sent before the gate closed, one alone after that
		entered := make(chan error, 1)
		go func() {
			_, err := e.enter(ctx0, "x")
			entered <- err
		}()
		time.Sleep(maxGateWait + time.Second)
		e.update(func(now time.Time) { e.gate.end(now, 0, &http.Response{StatusCode: 429}) })
		synctest.Wait()
		require.Empty(t, entered)
		e.update(func(now time.Time) { e.gate.end(now, 1, &http.Response{StatusCode: 200}) })
		require.NoError(t, <-entered)
	})
}

// A tracer may wait for a token itself, to send what it has.
func TestFlight_aTracerThatHangsHoldsNobodyLongerThanTheFlightsLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hang := make(chan struct{})
		defer close(hang)
		o := &order{
			span:    func(ctx context.Context) (context.Context, func(error)) { <-hang; return ctx, func(error) {} },
			fetch:   func(context.Context, string) (token, error) { return token{}, errRefused },
			overdue: func(context.Context) error { return errRefused },
			count:   func(error) {},
			report:  func(context.Context, token, error, time.Duration, time.Duration) {},
		}
		_, f, err := (&entry{}).join(time.Now(), o)
		require.NoError(t, err)
		select {
		case <-f.done:
			require.Equal(t, flightLimit, time.Since(f.began))
			require.ErrorIs(t, f.err, errRefused)
		case <-time.After(flightLimit + time.Second):
			require.Fail(t, "the waiters hang")
		}
	})
}
