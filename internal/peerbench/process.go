package main

import (
	"context"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// processorTime is what 5,000 waiting scopes cost in half a minute.
func processorTime(t *testing.T, s *section) {
	r := s.row("IMDS with its limits, 5,000 scopes wait: processor time of half a minute").aim(1, "%.2f s")
	for _, library := range rivals {
		draws(t, 1, func(int) {
			s := newSite().likeIMDS()
			c := party{library, imds}.credential(s)
			ctx, leave := context.WithCancel(context.Background())
			scopes := freshKeys(5_000)
			runtime.GC()
			before := used()
			for _, k := range scopes {
				go askIn(ctx, c, k)
			}
			time.Sleep(30 * time.Second)
			took := used() - before
			s.closed.Store(true)
			leave()
			r.set(library, took.Seconds(), "%.2f s", took.Seconds())
		})
	}
}

// used is the processor time of this process.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
