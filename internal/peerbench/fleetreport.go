package main

import (
	"fmt"
	"runtime/debug"
	"testing"
	"time"
)

const fleetTitle = "Fleet"

// fleetRuns are the table's columns, and in pairs the plots: without jitter and with it. Entra's tokens live for 60 to
// 90 minutes, which spreads their refreshes; tokens of 65 minutes are due together, at last when the outage begins.
var fleetRuns = []struct {
	name              string
	shortest, longest time.Duration
	jitter            bool
}{
	{"tokens of 60 to 90 minutes", 60 * time.Minute, 90 * time.Minute, false},
	{"60 to 90 minutes, with jitter", 60 * time.Minute, 90 * time.Minute, true},
	{"tokens of 65 minutes", 65 * time.Minute, 65 * time.Minute, false},
	{"65 minutes, with jitter", 65 * time.Minute, 65 * time.Minute, true},
}

// simulateFleet returns the traffic of each run.
func simulateFleet(t *testing.T, out *table, o options) (all []*traffic) {
	// the goroutines' stacks are most of the heap, and what collecting costs
	defer debug.SetGCPercent(debug.SetGCPercent(1_000))
	s := out.section(fleetTitle, fmt.Sprintf("Simulated, with managedid itself in fake time: %s processes that start "+
		"within a minute, 8 hours; from 4:00 to 4:10 the token endpoint answers 503. Jitter is the library's own: "+
		"each token is refreshed 5 to 10 minutes before its end; without it, RefreshBefore is 5 minutes. Requests a "+
		"second that the endpoint sees.",
		thousands(int64(o.processes))))
	for _, r := range fleetRuns {
		s.columns = append(s.columns, r.name)
		f := eightHours(o.processes)
		f.shortest, f.longest, f.jitter = r.shortest, r.longest, r.jitter
		all = append(all, f.run(t))
	}
	for _, figure := range fleetFigures(eightHours(o.processes)) {
		r := s.row(figure.what)
		for i, g := range all {
			v := figure.of(g)
			text := thousands(int64(v))
			if v < 100 && v != float64(int64(v)) {
				text = fmt.Sprintf("%.3g", v)
			}
			r.set(fleetRuns[i].name, v, "%s", text)
		}
	}
	return all
}

type fleetFigure struct {
	what string
	of   func(*traffic) float64
}

func fleetFigures(f fleet) []fleetFigure {
	begun, settled := f.start+5*time.Second, f.up+10*time.Minute
	peak := func(from, to time.Duration) func(*traffic) float64 {
		return func(g *traffic) float64 { return float64(g.peak(from, to)) }
	}
	mean := func(from, to time.Duration) func(*traffic) float64 {
		return func(g *traffic) float64 { return g.mean(from, to) }
	}
	return []fleetFigure{
		{"peak second of the start", peak(0, begun)},
		{"mean, from the first hour to the outage", mean(time.Hour, f.down)},
		{"peak second of the refreshes before the outage", peak(begun, f.down)},
		{"mean, in the outage", mean(f.down, f.up)},
		{"peak second of the outage", peak(f.down, f.up)},
		{"peak second of the 10 minutes after it", peak(f.up, settled)},
		{"peak second of the rest", peak(settled, f.length)},
		{"calls without a token, of processes that ask every 5 s when theirs is due",
			func(g *traffic) float64 { return float64(g.failed.Load()) }},
		{"calls with a token of less than 5 minutes, at a working endpoint",
			func(g *traffic) float64 { return float64(g.late.Load()) }},
	}
}
