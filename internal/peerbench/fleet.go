package main

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
)

// fleet is processes that need one token each, at one token endpoint. It runs the library itself, in fake time.
type fleet struct {
	processes int
	start     time.Duration // within which all begin
	length    time.Duration
	shortest  time.Duration // life of a token
	longest   time.Duration
	down      time.Duration // when the endpoint begins to answer 503
	up        time.Duration
	jitter    bool          // the library's; else a RefreshBefore of exactly five minutes
	polls     time.Duration // a process asks this often while it waits for a new token
}

// eightHours is the fleet of the table, of which the tokens' lives are missing.
func eightHours(processes int) fleet {
	return fleet{processes: processes, start: time.Minute, length: 8 * time.Hour,
		down: 4 * time.Hour, up: 4*time.Hour + 10*time.Minute, polls: 5 * time.Second}
}

// traffic is the requests of each second, and the calls that got no token.
type traffic struct {
	perSecond []int
	late      atomic.Int64 // tokens replaced with less than five minutes left, while the endpoint worked
	failed    atomic.Int64
}

// run lets the hours pass.
func (f fleet) run(t *testing.T) *traffic {
	got := &traffic{perSecond: make([]int, int(f.length/time.Second)+1)}
	measure(t, false, func(t *testing.T) {
		managedidtest.New(nil).Setenv(t)
		var mu sync.Mutex
		began := time.Now()
		e := &endpoint{token: "t"}
		via := roundTrip(func(r *http.Request) (*http.Response, error) {
			at := time.Since(began)
			mu.Lock()
			if second := int(at / time.Second); second < len(got.perSecond) {
				got.perSecond[second]++
			}
			mu.Unlock()
			if at >= f.down && at < f.up {
				return response(r, http.StatusServiceUnavailable, ""), nil
			}
			lifetime := f.shortest + rand.N(f.longest-f.shortest+1)
			answer := endpoint{token: e.token, delay: 100 * time.Millisecond, lifetime: lifetime}
			return answer.RoundTrip(r)
		})
		var all sync.WaitGroup
		for range f.processes {
			all.Go(func() { f.process(began, via, got) })
		}
		all.Wait()
	})
	require.NotZero(t, got.total())
	return got
}

// process asks as often as matters: a hit sends nothing.
func (f fleet) process(began time.Time, via roundTrip, got *traffic) {
	time.Sleep(rand.N(f.start))
	o := managedid.TokenCacheOptions{RefreshBefore: 5 * time.Minute}
	if f.jitter {
		o.RefreshBefore = 0
	}
	options := &managedid.ClientSecretCredentialOptions{Cache: managedid.NewTokenCache(&o),
		ClientOptions: azcore.ClientOptions{Transport: &http.Client{Transport: via}}}
	cred, err := managedid.NewClientSecretCredential("tenant", "client", "secret", options)
	if err != nil {
		panic(err)
	}
	k := newKey("fleet", 0)
	for time.Since(began) < f.length {
		token, err := cred.GetToken(context.Background(), k.opts)
		pause := f.polls
		if err != nil {
			got.failed.Add(1)
		} else if until := time.Until(token.RefreshOn); until > pause {
			pause = until
		}
		now := time.Since(began)
		working := now < f.down || now > f.up+f.longest
		if err == nil && working && time.Until(token.ExpiresOn) < 5*time.Minute-2*f.polls {
			got.late.Add(1)
		}
		time.Sleep(pause)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (g *traffic) total() (sum int) {
	for _, n := range g.perSecond {
		sum += n
	}
	return sum
}

// peak is the most requests of any second from one time to another.
func (g *traffic) peak(from, to time.Duration) (most int) {
	for _, n := range g.perSecond[int(from/time.Second):min(int(to/time.Second), len(g.perSecond))] {
		most = max(most, n)
	}
	return most
}

// mean is the requests per second from one time to another.
func (g *traffic) mean(from, to time.Duration) float64 {
	sum := 0
	for _, n := range g.perSecond[int(from/time.Second):int(to/time.Second)] {
		sum += n
	}
	return float64(sum) / (to - from).Seconds()
}
