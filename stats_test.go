package managedid

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/tokens"
)

func TestStats(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var status int
		f := &fakeEntra{}
		f.Script = func(_ int, r *http.Request) (*http.Response, error) {
			switch status {
			case 0:
				return nil, nil
			case 429:
				return respond(r, status, "{}", "Retry-After", "60"), nil
			}
			return respond(r, status, `{"error":"made_up"}`), nil
		}
		cache := NewTokenCache(&TokenCacheOptions{RefreshBefore: tokens.DefaultRefreshBefore})
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{Cache: cache, ClientOptions: noRetries})
		require.Equal(t, CacheStats{}, cache.Stats())
		start := time.Now().UTC()
		require.NoError(t, get(ctx0, c, vault).Err)
		require.NoError(t, get(ctx0, c, vault).Err, "a hit is no acquisition")
		hour := start.Add(3599 * time.Second)
		require.Equal(t, CacheStats{Tokens: 1, Acquisitions: 1, NextRefresh: hour.Add(-5 * time.Minute), EarliestExpiry: hour}, cache.Stats())
		time.Sleep(time.Minute)
		require.NoError(t, get(ctx0, c, "b/.default").Err)
		status = 400
		require.Error(t, get(ctx0, c, "c").Err)
		require.Error(t, get(ctx0, c, "c").Err, "a repeated refusal is no request")
		status = 429
		require.Error(t, get(ctx0, c, "d").Err)
		until := cache.Stats().ThrottledUntil
		requireJittered(t, time.Minute, until.Sub(start.Add(time.Minute)))
		want := CacheStats{Tokens: 2, Acquisitions: 2, Failures: map[Reason]uint64{"": 1, ReasonThrottled: 1}, ThrottledUntil: until,
			NextRefresh: hour.Add(-5 * time.Minute), EarliestExpiry: hour}
		require.Equal(t, want, cache.Stats())
		printed, err := json.Marshal(cache.Stats())
		require.NoError(t, err)
		require.JSONEq(t, `{"tokens":2,"acquisitions":2,"failures":{"":1,"throttled":1},"throttledUntil":"`+until.Format(time.RFC3339Nano)+`",
			"nextRefresh":"2000-01-01T00:54:59Z","earliestExpiry":"2000-01-01T00:59:59Z"}`, string(printed))
		time.Sleep(time.Until(hour) + time.Minute)
		require.Equal(t, CacheStats{Acquisitions: 2, Failures: want.Failures}, cache.Stats(), "what has expired is not held")
	})
}

func TestStats_ofTheProcess(t *testing.T) {
	before := ProcessCache().Stats().Acquisitions
	processCache.counts.add(nil)
	require.Equal(t, before+1, ProcessCache().Stats().Acquisitions)
}
