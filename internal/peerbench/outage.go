package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

const (
	outageTitle  = "Outage"
	outageAll    = "all of the 6 minutes"
	outageMinute = "minute %d"
)

func outage(t *testing.T, out *table) {
	s := out.section(outageTitle, "A token with 6 minutes left, and the endpoint refuses connections from then on. "+
		"Share of the calls, one a second with a deadline of 5 s, that "+
		"get a valid token.", ours, theirs, msal, reuse)
	all := s.row(outageAll)
	minutes := make([]*row, 6)
	for i := range minutes {
		minutes[i] = s.row(fmt.Sprintf(outageMinute, i+1))
	}
	for _, l := range libraries {
		answered := survive(t, l)
		sum := 0.0
		for i, r := range minutes {
			share := float64(answered[i]) / 60 * 100
			sum += share / 6
			r.set(l.name, share, "%.0f %%", share)
		}
		all.set(l.name, sum, "%.3g %%", sum)
	}
}

// survive counts the answered calls of each minute.
func survive(t *testing.T, l library) (answered [6]int) {
	measure(t, false, func(t *testing.T) {
		managedidtest.New(nil).Setenv(t, managedidtest.IMDS)
		e := &endpoint{token: "t", lifetime: 6 * time.Minute}
		cred, err := l.alone(&http.Client{Transport: e})
		require.NoError(t, err)
		k := newKey("outage-"+l.name, 0)
		require.NoError(t, insist(context.Background(), cred, k))
		e.down.Store(true)
		var all sync.WaitGroup
		var mu sync.Mutex
		for i := range 6 * 60 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				token, err := cred.GetToken(ctx, k.opts)
				if mu.Lock(); err == nil && time.Now().Before(token.ExpiresOn) {
					answered[i/60]++
				}
				mu.Unlock()
			})
			time.Sleep(time.Second)
		}
		all.Wait()
	})
	return answered
}
