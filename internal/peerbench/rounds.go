package main

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"
)

const (
	serialBatch   = 200 * time.Microsecond // short enough to pass, mostly, between two turns of other programs
	parallelBatch = 5 * time.Millisecond   // long enough for a second processor to come
)

// rounds calls each subject once in each round, in an order that changes.
func rounds(subjects []*subject, m mode, k *key, n int) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(m.procs))
	least := serialBatch
	if m.goroutines > 1 {
		least = parallelBatch
		n = max(n/4, 1)
	}
	for _, s := range subjects {
		s.taken = nil
		for s.batch = 1; batch(s, 1, k) < least && s.batch < 1<<20; s.batch *= 2 {
		}
	}
	for range n {
		for _, i := range rand.Perm(len(subjects)) {
			s := subjects[i]
			s.taken = append(s.taken, float64(batch(s, m.goroutines, k).Nanoseconds())/float64(s.batch*m.goroutines))
		}
	}
}

// batch returns how long it takes the goroutines, from when all are there, to make their calls.
func batch(s *subject, goroutines int, k *key) time.Duration {
	var all, there sync.WaitGroup
	there.Add(goroutines)
	work := func() {
		there.Done()
		there.Wait()
		repeat(context.Background(), s, k)
	}
	for range goroutines - 1 {
		all.Go(work)
	}
	there.Done()
	there.Wait()
	began := time.Now()
	repeat(context.Background(), s, k)
	all.Wait()
	return time.Since(began)
}

func repeat(ctx context.Context, s *subject, k *key) {
	for range s.batch {
		if err := s.call(ctx, k); err != nil {
			panic(err)
		}
	}
}
