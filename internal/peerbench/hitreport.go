package main

import (
	"context"
	"fmt"
	"testing"
)

func allocationsRow(way string) string { return "allocations per call, " + way }

func hitRow(way string, size int, m mode) string {
	return fmt.Sprintf("%s, %s token%s, %s", way, thousands(int64(size)), map[bool]string{true: "s"}[size > 1], m)
}

func report(out *section, subjects []*subject, size int, m mode) {
	rows := map[string]*row{}
	base := map[string]sample{}
	for _, s := range subjects {
		r := rows[s.way]
		if r == nil {
			r = out.row(hitRow(s.way, size, m))
			rows[s.way] = r
		}
		if s.library == floors {
			base[s.way] = s.taken
			r.cells[floors] = cell{value: s.taken.median(), least: s.taken.min(), text: nanos(s.taken.median())}
			continue
		}
		floor := base[s.way]
		if floor == nil {
			floor = base[direct]
		}
		least, median := s.taken.over(floor)
		text := fmt.Sprintf("%s (%s, %s)", nanos(s.taken.median()), times(least), times(median))
		r.cells[s.library] = cell{s.taken.median(), s.taken.min(), median, text}
	}
	for _, r := range rows {
		r.fill(noChain, floors, msal, reuse)
	}
}

const noChain = "has none"

// allocations counts with the tokens that are cached now.
func (h *hits) allocations() {
	k := newKey("hit", h.filled-1)
	rows := map[string]*row{}
	for _, s := range h.subjects {
		r := rows[s.way]
		if r == nil {
			r = h.out.row(allocationsRow(s.way))
			rows[s.way] = r
		}
		n := testing.AllocsPerRun(100, func() { repeat(context.Background(), &subject{call: s.call, batch: 1}, &k) })
		r.set(s.library, n, "%s", thousands(int64(n)))
	}
	for _, r := range rows {
		r.fill(noChain, floors, msal, reuse)
	}
}
