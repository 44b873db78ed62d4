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

// crowd is callers who all want a token at once.
type crowd struct {
	resources, each int // callers
	host            managedidtest.Endpoint
	fault           managedidtest.Fault
}

// outcome is what the endpoint saw and the callers felt.
type outcome struct {
	requests    int // all
	within      int // while the fault lasted
	throttled   int // answered with 429
	without     int // callers whose patience ended
	first, last time.Duration
}

// patience is how long a caller goes on asking.
const patience = 2 * time.Minute

func (o outcome) lastText(from time.Duration) string {
	if o.without > 0 {
		return fmt.Sprintf("%s callers have none after %s", thousands(int64(o.without)), seconds(patience))
	}
	return seconds(o.last - from)
}

// run lets the crowd ask until each has its token.
func (c crowd) run(t *testing.T, l library, name string) (got outcome) {
	measure(t, l.holdsLock && c.fault.Delay > 0, func(t *testing.T) {
		em := managedidtest.New(nil)
		em.Setenv(t, c.host)
		em.Inject(c.fault)
		cred, err := l.alone(&http.Client{Transport: em})
		require.NoError(t, err)
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var all sync.WaitGroup
		var mu sync.Mutex
		for i := range c.resources * c.each {
			all.Go(func() {
				err := insist(ctx, cred, newKey(name, i%c.resources))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					got.without++
				}
				got.last = time.Since(began)
				if got.first == 0 {
					got.first = got.last
				}
			})
		}
		all.Wait()
		for _, r := range em.Requests() {
			got.requests++
			if r.Status == http.StatusTooManyRequests {
				got.throttled++
			}
			if r.Time.Sub(began) < c.fault.For {
				got.within++
			}
		}
	})
	return got
}

// crowds are the numbers of callers of one token that the plot shows.
var crowds = []int{1, 10, 100, 1_000}

const (
	coldTitle = "Cold"
	oneToken  = "1,000 callers of one token: requests"
	manyCold  = "100 resources × 20 callers at IMDS's limits: requests"
	many429s  = "… of these answered with 429"
)

// cold returns the requests by library, for the crowds.
func cold(t *testing.T, out *table) map[string][]int {
	s := out.section(coldTitle, "Callers who all ask the credential at once (the BearerTokenPolicy of one SDK client "+
		"would send one of them ahead). The endpoint takes 50 ms for an answer; the emulator's IMDS has the limits of "+
		"the real one, 20 requests a second and 5 at once. A caller who gets an error asks again a second later, for "+
		"two minutes.", ours, theirs, msal, reuse)
	one, oneTime := s.row(oneToken), s.row("… time until the last has its token")
	many, refused, manyTime := s.row(manyCold), s.row(many429s), s.row("… time until the last has its token")
	requests := map[string][]int{}
	slow := managedidtest.Fault{Delay: 50 * time.Millisecond}
	for _, l := range libraries {
		for _, n := range crowds {
			c := crowd{resources: 1, each: n, host: managedidtest.AppService, fault: slow}
			got := c.run(t, l, "cold-"+thousands(int64(n))+"-"+l.name)
			requests[l.name] = append(requests[l.name], got.requests)
			one.set(l.name, float64(got.requests), "%s", thousands(int64(got.requests)))
			oneTime.set(l.name, got.last.Seconds(), "%s", got.lastText(0))
		}
		c := crowd{resources: 100, each: 20, host: managedidtest.IMDS, fault: slow}
		got := c.run(t, l, "limits-"+l.name)
		many.set(l.name, float64(got.requests), "%s", thousands(int64(got.requests)))
		refused.set(l.name, float64(got.throttled), "%s", thousands(int64(got.throttled)))
		manyTime.set(l.name, got.last.Seconds(), "%s", got.lastText(0))
	}
	return requests
}

const (
	throttledTitle = "Throttled"
	throttledSent  = "requests sent in the 20 s"
)

func throttled(t *testing.T, out *table) {
	s := out.section(throttledTitle, "IMDS answers 429 without Retry-After for 20 s to 100 callers of 10 resources. "+
		"A caller who gets an error asks again a second later, for two minutes.", ours, theirs, msal, reuse)
	sent := s.row(throttledSent)
	first, last := s.row("time from the end to the first token"), s.row("… and to the last caller's")
	const limit = 20 * time.Second
	for _, l := range libraries {
		c := crowd{resources: 10, each: 10, host: managedidtest.IMDS,
			fault: managedidtest.Fault{Status: http.StatusTooManyRequests, For: limit}}
		got := c.run(t, l, "throttled-"+l.name)
		sent.set(l.name, float64(got.within), "%s", thousands(int64(got.within)))
		first.set(l.name, (got.first - limit).Seconds(), "%s", seconds(got.first-limit))
		last.set(l.name, (got.last - limit).Seconds(), "%s", got.lastText(limit))
	}
}
