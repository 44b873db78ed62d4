package main

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

const (
	refreshTitle  = "Refresh"
	refreshBefore = "tokens without a hint: longest wait of a caller"
	refreshHint   = "tokens with `refresh_in`: longest wait of a caller"
)

func refresh(t *testing.T, out *table) {
	s := out.section(refreshTitle, "8 callers ask every 10 ms while the token is replaced, at an endpoint that takes "+
		"500 ms.", ours, theirs, msal, reuse)
	plain, hinted := s.row(refreshBefore), s.row(refreshHint)
	for _, l := range libraries {
		due := hintLeast
		if l.holdsLock { // in real time
			due = time.Second
		}
		wait := longestWait(t, l, &endpoint{token: "t", lifetime: l.before + due}, due)
		plain.set(l.name, wait.Seconds(), "%s", seconds(wait))
		if l.name == reuse {
			continue
		}
		wait = longestWait(t, l, &endpoint{token: "t", lifetime: time.Hour, refreshIn: due}, due)
		hinted.set(l.name, wait.Seconds(), "%s", seconds(wait))
	}
	hinted.fill("doesn't read it", reuse)
}

// hintLeast is a time after which a new token may be refreshed: managedid lets half a minute pass.
const hintLeast = 31 * time.Second

// longestWait is a caller's around the time when the token is due.
func longestWait(t *testing.T, l library, e *endpoint, due time.Duration) (longest time.Duration) {
	measure(t, l.holdsLock, func(t *testing.T) {
		managedidtest.New(nil).Setenv(t, managedidtest.AppService)
		cred, err := l.alone(&http.Client{Transport: e})
		require.NoError(t, err)
		k := newKey("refresh-"+l.name+e.refreshIn.String(), 0)
		require.NoError(t, insist(context.Background(), cred, k))
		time.Sleep(due - time.Second)
		e.delay = 500 * time.Millisecond
		var all sync.WaitGroup
		var mu sync.Mutex
		end := time.Now().Add(2500 * time.Millisecond)
		for range 8 {
			all.Go(func() {
				for time.Now().Before(end) {
					began := time.Now()
					_, failed := cred.GetToken(context.Background(), k.opts)
					mu.Lock()
					longest, err = max(longest, time.Since(began)), errors.Join(err, failed)
					mu.Unlock()
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		all.Wait()
		require.NoError(t, err)
		require.Greater(t, e.requests.Load(), int64(1), "nothing was replaced")
	})
	return longest
}
