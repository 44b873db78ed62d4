package main

import (
	"sync"
	"testing"
	"time"
)

// challenged is what a resource saw that challenges.
type challenged struct {
	refused  int // calls with a token that it has refused
	requests int // of a hundred calls with one challenge
}

// challenges has a resource refuse tokens, with the same claims each time.
func challenges(t *testing.T, s *section, host string, n int) {
	again := compare(t, n, func(library string, _ int) challenged { return party{library, host}.again() })
	title := host + ", the same claims challenge "
	worst(s.row(title+"each 40 s: of 10 calls get a token that was refused before").aim(0, number), again, number,
		func(c challenged) float64 { return float64(c.refused) })
	crowd := compare(t, n, func(library string, _ int) challenged { return party{library, host}.together() })
	worst(s.row(title+"100 times within 5 s: requests").aim(1, number), crowd, number,
		func(c challenged) float64 { return float64(c.requests) })
}

func challenge(k key) key {
	k.opts.Claims, k.opts.EnableCAE = `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`, true
	return k
}

// again has the resource refuse each token.
func (p party) again() (got challenged) {
	s := newSite()
	s.numbered = true
	c, k := p.credential(s), freshKey()
	k.opts.EnableCAE = true
	refused := map[string]bool{"": true, text(c, k): true}
	for range 10 {
		token := text(c, challenge(k))
		if refused[token] {
			got.refused++
		}
		refused[token] = true
		time.Sleep(40 * time.Second)
	}
	return got
}

// together has it refuse the one token of a hundred callers.
func (p party) together() (got challenged) {
	s := newSite()
	s.numbered = true
	c, k := p.credential(s), freshKey()
	k.opts.EnableCAE = true
	text(c, k)
	before := time.Since(s.began)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() { text(c, challenge(k)) })
		time.Sleep(50 * time.Millisecond)
	}
	all.Wait()
	got.requests = s.requests(before, time.Since(s.began)+time.Second)
	return got
}
