package main

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// The plot's time: an outage in the midst of it.
const (
	aroundLength = 80 * time.Second
	aroundFrom   = 20 * time.Second
	aroundTo     = 45 * time.Second
)

// aroundKinds have a plot each.
var aroundKinds = []mishap{fails, throttles}

func aroundName(library string, kind mishap) string { return library + ", " + kind.name }

// around has the calls of each second that get a token, the mean of n draws, by aroundName.
func around(t *testing.T, n int) map[string]sample {
	means := map[string]sample{}
	for _, kind := range aroundKinds {
		all := compare(t, n, func(library string, _ int) sample { return answered(library, kind) })
		for library, found := range all {
			mean := make(sample, int(aroundLength/time.Second))
			for _, f := range found {
				for second, calls := range f {
					mean[second] += calls / float64(n)
				}
			}
			means[aroundName(library, kind)] = mean
		}
	}
	return means
}

// answered has twelve scopes called once a second, whose tokens live for two.
func answered(library string, kind mishap) sample {
	s := newSite()
	s.life = func() time.Duration { return 2 * time.Second }
	s.meets = kind.between(aroundFrom, aroundTo)
	c := party{library, imds}.credential(s)
	perSecond := make(sample, int(aroundLength/time.Second))
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, k := range freshKeys(12) {
		all.Go(func() {
			time.Sleep(rand.N(time.Second))
			for time.Since(s.began) < aroundLength {
				all.Go(func() {
					if ask(c, k, 5*time.Second) != nil {
						return
					}
					mu.Lock()
					defer mu.Unlock()
					if second := int(time.Since(s.began) / time.Second); second < len(perSecond) {
						perSecond[second]++
					}
				})
				time.Sleep(time.Second)
			}
		})
	}
	all.Wait()
	return perSecond
}
