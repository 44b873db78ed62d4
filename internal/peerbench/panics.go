package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// panicVariable has this program be a service whose transport panics; its value is the library.
const panicVariable = "PEERBENCH_PANIC"

// The exit statuses of that service; one that a panic ends has 2.
const (
	nextServed = 0
	nextFailed = 10
)

// transportPanics has a transport panic inside a service.
func transportPanics(t *testing.T, s *section, n int) {
	title := "IMDS, a transport panics once, in the handler of an HTTP service: "
	ends, fails := s.row(title+"the process ends").aim(0, number), s.row(title+"the next call fails").aim(0, number)
	all := figures[int]{}
	for _, library := range rivals {
		for range n {
			all[library] = append(all[library], panicking(t, library))
		}
	}
	count := func(bad bool) int { return map[bool]int{true: 1}[bad] }
	sum(ends, all, func(status int) int { return count(status != nextServed && status != nextFailed) })
	sum(fails, all, func(status int) int { return count(status != nextServed) })
}

// panicking returns the exit status of a service in another process.
func panicking(t *testing.T, library string) (status int) {
	self, err := os.Executable()
	require.NoError(t, err)
	t.Run("", func(t *testing.T) {
		managedidtest.New(nil).Setenv(t, managedidtest.IMDS)
		t.Setenv(panicVariable, library)
		command := exec.Command(self)
		_ = command.Run()
		status = command.ProcessState.ExitCode()
	})
	return status
}

// servePanic is such a service, and its client. It returns its exit status.
func servePanic(library string) int {
	s := newSite()
	var asked atomic.Bool
	c := party{library, imds}.credential(roundTrip(func(r *http.Request) (*http.Response, error) {
		if asked.CompareAndSwap(false, true) {
			panic("a transport's")
		}
		return s.RoundTrip(r)
	}))
	k := freshKey()
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := c.GetToken(r.Context(), k.opts); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer service.Close()
	_, _ = http.Get(service.URL)
	resp, err := http.Get(service.URL)
	if err != nil || resp.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, resp, err)
		return nextFailed
	}
	return nextServed
}
