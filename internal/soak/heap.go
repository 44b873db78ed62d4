package main

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

const (
	heapSampled = 10 * time.Second

	// flatHeap is the allowed growth of the least heap from the first third of a run to the last, in bytes. A fifth of
	// the heap is allowed in addition.
	flatHeap = 8 << 20

	// fewSamples is the least number of samples for a check.
	fewSamples = 6
)

// heap records the size of the heap after garbage collections.
type heap struct {
	recorder *recorder
	samples  []uint64 // in bytes; read after all jobs have ended
}

// watch records samples until ctx ends.
func (h *heap) watch(ctx context.Context, _ *atomic.Pointer[time.Time]) {
	for sleep(ctx, heapSampled) {
		h.recorder.sweep(time.Now())
		h.samples = append(h.samples, measure().Heap)
	}
}

// thirds returns the least sample of the first third and of the last.
func thirds(samples []uint64) (first, last uint64) {
	n := len(samples) / 3
	if n == 0 {
		return 0, 0
	}
	return slices.Min(samples[:n]), slices.Min(samples[len(samples)-n:])
}

// grew reports whether the heap grew more than allowed.
func grew(samples []uint64) bool {
	first, last := thirds(samples)
	return len(samples) >= fewSamples && last > first+first/5+flatHeap
}
