package main

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

const (
	heapSampled = 10 * time.Second

	// flatHeap and a fifth more is what the least heap may grow by from the first third of a run to the last.
	flatHeap = 8 << 20

	// fewSamples say nothing yet.
	fewSamples = 6
)

// heap watches what is in use after a garbage collection.
type heap struct {
	recorder *recorder
	samples  []uint64 // read when all has ended
}

func (h *heap) watch(ctx context.Context, _ *atomic.Pointer[time.Time]) {
	for sleep(ctx, heapSampled) {
		h.recorder.sweep(time.Now())
		h.samples = append(h.samples, measure().Heap)
	}
}

// thirds returns the least of the first third of the samples and of the last.
func thirds(samples []uint64) (first, last uint64) {
	n := len(samples) / 3
	if n == 0 {
		return 0, 0
	}
	return slices.Min(samples[:n]), slices.Min(samples[len(samples)-n:])
}

// grew tells whether the heap did not stay flat.
func grew(samples []uint64) bool {
	first, last := thirds(samples)
	return len(samples) >= fewSamples && last > first+first/5+flatHeap
}
