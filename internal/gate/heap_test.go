package gate

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHeap_againstASortedSlice(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	h := heap[*waiter]{less: earlier}
	var all []*waiter
	at := func() time.Time { return epoch.Add(time.Duration(random.IntN(100))) }
	for range 20_000 {
		switch n := random.IntN(5); {
		case n < 2 || len(all) == 0:
			w := &waiter{deadline: at()}
			h.push(w)
			all = append(all, w)
		case n == 2:
			i := random.IntN(len(all))
			h.remove(all[i])
			require.Zero(t, all[i].index)
			all = slices.Delete(all, i, i+1)
		case n == 3:
			w := all[random.IntN(len(all))]
			w.deadline = at()
			h.fix(w)
		default:
			h.remove(h.items[0])
			slices.SortFunc(all, func(a, b *waiter) int { return a.deadline.Compare(b.deadline) })
			gone := slices.IndexFunc(all, func(w *waiter) bool { return w.index == 0 })
			require.True(t, all[gone].deadline.Equal(all[0].deadline), "the first")
			all = slices.Delete(all, gone, gone+1)
		}
		require.Equal(t, len(all), h.len())
		require.True(t, sound(&h))
	}
}

// TestMachine_manyWaitersCostLittle counts comparisons: each event may cost some times log2(5000) ≈ 12 of them.
func TestMachine_manyWaitersCostLittle(t *testing.T) {
	const n, each = 5000, 40
	s := newScript(Config{Parallel: 5}, 0)
	compared := 0
	for _, h := range []*heap[*Ticket]{&s.ready, &s.resting} {
		less := h.less
		h.less = func(a, b *Ticket) bool { compared++; return less(a, b) }
	}
	cost := func(what string, most int, do func()) {
		compared = 0
		do()
		require.LessOrEqual(t, compared, most, what)
	}
	var all []*Ticket
	cost("to come", n*each, func() { all = s.crowd(n) })
	cost("to be joined", n*each, func() {
		for _, k := range all {
			s.caller(k)
		}
	})
	cost("an answer", 1000*each, func() {
		for range 1000 {
			s.finish(s.turns[0], Outcome{Kind: Good})
		}
	})
	cost("a pause", each, func() { s.finish(s.turns[0], Outcome{Kind: Throttled, Pause: time.Second}) })
	cost("its end", each, func() { s.pass(time.Second) })
	cost("to leave", 2*n*each, func() {
		for _, k := range all {
			for k.waiters.len() > 0 {
				k.waiters.remove(k.waiters.items[0])
				s.left(s.now, k)
				s.look()
			}
		}
	})
	require.Zero(t, s.ready.len())
	cost("to rest", n*each, func() {
		s.failures = 1
		for range n {
			s.enter(s.ticket(), time.Hour)
		}
	})
	cost("to be woken", 2*n*each, func() { s.round(Outcome{Kind: Good}) })
	require.Zero(t, s.resting.len())
}

// sound tells whether a heap is one.
func sound[T interface{ place() *int }](h *heap[T]) bool {
	for i, t := range h.items {
		if *t.place() != i+1 || i > 0 && h.less(t, h.items[(i-1)/2]) {
			return false
		}
	}
	return true
}
