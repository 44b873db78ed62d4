package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// hangover is what callers felt of a transport that never returned.
type hangover struct {
	own   int // the calls that met it and failed, or never ended
	later int // of 20 an hour later
}

// stuck has transports never return, whatever the context.
func stuck(t *testing.T, s *section, n int) {
	for _, row := range []struct {
		host, title string
		times       int
	}{{imds, "once", 1}, {entra, "once", 1}, {imds, "five times where it has answered before", 5}} {
		all := compare(t, n, func(library string, _ int) hangover {
			return hanging(party{library, row.host}, row.times)
		})
		title := fmt.Sprintf("%s, a transport ignores its context and never returns, %s: ", row.host, row.title)
		own := s.row(title+"of its own calls with 10 s fail, or never end").aim(0, number)
		worst(own, all, number, func(h hangover) float64 { return float64(h.own) })
		worst(s.row(title+"of 20 calls for new scopes an hour later fail").aim(0, number), all, number,
			func(h hangover) float64 { return float64(h.later) })
	}
}

// hanging has so many requests get stuck: the first, or those after the first token.
func hanging(p party, times int) (got hangover) {
	s := newSite()
	after := 0
	if times > 1 {
		after = 1
	}
	s.meets = func(_ time.Duration, n int) mishap {
		if n > after && n <= after+times {
			return hangs
		}
		return mishap{}
	}
	c := p.credential(s)
	if after > 0 {
		must(0, ask(c, freshKey(), 0))
	}
	failed := make(chan error, times)
	for _, k := range freshKeys(times) {
		go func() { failed <- watched(c, k, 10*time.Second) }()
	}
	for range times {
		got.own += newcomer(<-failed)
	}
	time.Sleep(time.Hour)
	for _, k := range freshKeys(20) {
		got.later += newcomer(watched(c, k, 10*time.Second))
	}
	close(s.free)
	return got
}

// watched is ask, and an error where the call outlasts its deadline by a second.
func watched(c azcore.TokenCredential, k key, patience time.Duration) error {
	ended := make(chan error, 1)
	go func() { ended <- ask(c, k, patience) }()
	select {
	case err := <-ended:
		return err
	case <-time.After(patience + time.Second):
		return errors.New("the call goes on")
	}
}
