package main

import (
	"fmt"
	"io"
	"math"
)

// goal is a line of the design's figures.
type goal struct {
	what, limit string
	measured    string
	met         bool
	miss        string // by how much, where it isn't met
}

// atMost judges a figure that must not be above its limit.
func atMost(what string, value, limit float64, format string) goal {
	g := goal{what: what, limit: "at most " + fmt.Sprintf(format, limit), measured: fmt.Sprintf(format, value)}
	g.met = value <= limit
	if !g.met {
		g.miss = fmt.Sprintf(format, value-limit) + " above"
	}
	if math.IsInf(value, 1) {
		g.measured, g.miss = "never", "there is none"
	}
	return g
}

// atLeast judges one that must not be below.
func atLeast(what string, value, limit float64, format string) goal {
	g := goal{what: what, limit: "at least " + fmt.Sprintf(format, limit), measured: fmt.Sprintf(format, value)}
	g.met = value >= limit
	if !g.met {
		g.miss = fmt.Sprintf(format, limit-value) + " below"
	}
	return g
}

// goals judges the table by the design's figures, as far as it has been measured.
func (r *results) goals() (all []goal) {
	t := r.table
	for _, part := range []struct {
		name  string
		goals func(*table) []goal
	}{{"hits", hitGoals}, {"callers", callerGoals}, {"refresh", refreshGoals}, {"weight", weightGoals}} {
		if r.options.has(part.name) {
			all = append(all, part.goals(t)...)
		}
	}
	for _, s := range t.sections {
		for _, w := range s.rows {
			if w.goal != nil {
				all = append(all, atMost(w.what, w.cells[ours].value, w.goal.most, w.goal.format))
			}
		}
	}
	return all
}

const number = "%.0f"

func callerGoals(t *table) []goal {
	return []goal{
		atMost("1,000 callers, cold: requests", t.get(coldTitle, oneToken, ours).value, 1, number),
		atMost("100 resources × 20 callers, cold, IMDS's limits: requests",
			t.get(coldTitle, manyCold, ours).value, 100, number),
		atMost("… answered with 429", t.get(coldTitle, many429s, ours).value, 0, number),
		atMost("100 callers of 10 resources, 20 s of 429 without Retry-After: requests",
			t.get(throttledTitle, throttledSent, ours).value, 8, number),
	}
}

func refreshGoals(t *table) []goal {
	return []goal{
		atMost("a refresh at an endpoint that takes 500 ms: longest wait",
			t.get(refreshTitle, refreshBefore, ours).value, 0, "%.3f s"),
		atLeast("token valid, endpoint down: calls answered until expires_on",
			t.get(outageTitle, outageAll, ours).value, 100, "%.3g %%"),
	}
}

func weightGoals(t *table) []goal {
	size := func(program string) float64 { return t.get(weightTitle, program, overAzcore).value / 1000 }
	return []goal{
		atMost("binary over azcore's pipeline, managed identity alone", size(ours), 250, "%.0f KB"),
		atMost("binary over azcore's pipeline, default chain", size(ours+", default chain"), 650, "%.0f KB"),
		atMost("modules linked, our own included",
			t.get(weightTitle, ours+", default chain", modules).value, 7, number),
	}
}

// hitGoals judges by the medians of the ratios to the floor, of the worst serial mode and size.
func hitGoals(t *table) []goal {
	var worst, chain, allocs, flat float64
	for _, m := range modes[:2] {
		one := t.get(hitTitle, hitRow(direct, 1, m), ours)
		for _, n := range sizes {
			hit := t.get(hitTitle, hitRow(direct, n, m), ours)
			worst, flat = math.Max(worst, hit.ratio), math.Max(flat, hit.ratio/one.ratio)
			chain = math.Max(chain, t.get(hitTitle, hitRow(chained, n, m), ours).ratio/hit.ratio)
		}
	}
	for _, way := range []string{direct, chained} {
		allocs = math.Max(allocs, t.get(hitTitle, allocationsRow(way), ours).value)
	}
	const ratio = "× %.2f"
	growth := func(library string) float64 {
		var one, two float64 // from the rounds in which the other processor was free
		for _, n := range sizes {
			one += t.get(hitTitle, hitRow(direct, n, modes[1]), library).least
			two += t.get(hitTitle, hitRow(direct, n, modes[2]), library).least
		}
		return one / two
	}
	// a lock would leave half
	scales := atLeast("hit on 2 cores: growth of throughput, of the floor's own growth",
		growth(ours)/growth(floors), 0.8, ratio)
	scales.measured += fmt.Sprintf(" (%.2f of %.2f)", growth(ours), growth(floors))
	return []goal{
		atMost("hit, 1 to 10,000 cached tokens: of the floor", worst, 1.3, ratio),
		atMost("… flat: growth of that over 1 token's", flat, 1.2, ratio),
		atMost("… allocations, default chain too", allocs, 0, "%.0f"),
		scales,
		atMost("hit through the default chain: of the direct one", chain, 1.25, ratio),
	}
}

func writeGoals(w io.Writer, all []goal) {
	writeRow(w, []string{"what", "goal", "measured", ""})
	writeRow(w, []string{"---", "---", "---", "---"})
	for _, g := range all {
		verdict := "met"
		if !g.met {
			verdict = "**not met**, " + g.miss
		}
		writeRow(w, []string{g.what, g.limit, g.measured, verdict})
	}
}
