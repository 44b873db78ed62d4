package main

import (
	"fmt"
	"image/color"
	"path/filepath"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// plots stand beside benchmarks.md.
var plots = []struct {
	part, file, what string
	draw             func(*results, string) error
}{
	{"hits", "benchmarks-hit.svg", "time of a hit by the number of cached tokens", (*results).plotHit},
	{"callers", "benchmarks-cold.svg", "requests by callers", (*results).plotCold},
	{"fleet", "benchmarks-fleet.svg", "a fleet's requests over time", (*results).plotFleet},
	{"recovery", "benchmarks-recovery.svg", "tokens a second around an outage", (*results).plotRecovery},
}

func (r *results) plot(dir string) error {
	for _, p := range plots {
		if !r.options.has(p.part) {
			continue
		}
		if err := p.draw(r, filepath.Join(dir, p.file)); err != nil {
			return err
		}
	}
	return nil
}

func (r *results) plotHit(path string) error {
	p := newPlot("A cached token", "tokens in the cache", "time of a call")
	logarithmic(p, decades(1, 10_000, func(v float64) string { return thousands(int64(v)) }), decades(10, 1e7, nanos))
	var curves []curve
	for _, library := range []string{floors, ours, theirs, msal, reuse} {
		c := curve{name: library}
		for _, n := range sizes {
			hit := r.table.get(hitTitle, hitRow(direct, n, modes[1]), library)
			c.points = append(c.points, plotter.XY{X: float64(n), Y: hit.value})
		}
		curves = append(curves, c)
	}
	p.Legend.Top, p.Legend.Left = true, true
	if err := addCurves(p, curves); err != nil {
		return err
	}
	return save(path, p)
}

func (r *results) plotCold(path string) error {
	p := newPlot("One token, an empty cache", "callers at once", "requests sent")
	count := func(v float64) string { return thousands(int64(v)) }
	logarithmic(p, decades(1, 1_000, count), decades(1, 1_000, count))
	p.Y.Min = 0.8 // the line of one request is not on the edge
	var curves []curve
	for _, l := range libraries {
		c := curve{name: l.name}
		for i, n := range crowds {
			c.points = append(c.points, plotter.XY{X: float64(n), Y: float64(r.requests[l.name][i])})
		}
		curves = append(curves, c)
	}
	p.Legend.Top, p.Legend.Left = true, true
	if err := addCurves(p, curves); err != nil {
		return err
	}
	return save(path, p)
}

// decades are the ticks from one power of ten to another.
func decades(from, to float64, label func(float64) string) (ticks plot.ConstantTicks) {
	for v := from; v <= to*1.01; v *= 10 {
		ticks = append(ticks, plot.Tick{Value: v, Label: label(v)})
	}
	return ticks
}

// everyTen are a tick for each ten.
func everyTen(to int) (ticks plot.ConstantTicks) {
	for v := 0; v <= to; v += 10 {
		ticks = append(ticks, plot.Tick{Value: float64(v), Label: fmt.Sprint(v)})
	}
	return ticks
}

// hours are a tick for each hour.
func hours(to int) (ticks plot.ConstantTicks) {
	for h := range to + 1 {
		ticks = append(ticks, plot.Tick{Value: float64(h), Label: fmt.Sprint(h)})
	}
	return ticks
}

// plotFleet shows the mean of each half minute, a pair of runs in each of two plots.
func (r *results) plotFleet(path string) error {
	const bin = 30
	var plots []*plot.Plot
	for i := 0; i < len(r.fleet); i += 2 {
		p := newPlot("", "hours", "requests a second, mean of 30 s")
		p.X.Tick.Marker = hours(8)
		most := 0.0
		for pair, g := range r.fleet[i : i+2] {
			var points plotter.XYs
			for at := 0; at+bin < len(g.perSecond); at += bin {
				rate := g.mean(time.Duration(at)*time.Second, time.Duration(at+bin)*time.Second)
				points = append(points, plotter.XY{X: float64(at) / 3600, Y: rate})
				most = max(most, rate)
			}
			line, err := plotter.NewLine(points)
			if err != nil {
				return err
			}
			line.Color, line.Width = []color.Color{looks[2].color, looks[1].color}[pair], vg.Points(1)
			p.Add(line)
			p.Legend.Add(fleetRuns[i+pair].name, line)
		}
		p.Legend.Top, p.Legend.Left, p.Legend.XOffs = true, true, vg.Inch/2
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, 8, 0, most*1.3
		plots = append(plots, p)
	}
	plots[0].Title.Text = fmt.Sprintf("A fleet of %s processes, an outage from 4:00 to 4:10",
		thousands(int64(r.options.processes)))
	return save(path, plots...)
}

// plotRecovery shows the calls that get a token, a plot for each kind of outage.
func (r *results) plotRecovery(path string) error {
	all, err := r.recoveryPlots()
	if err != nil {
		return err
	}
	return save(path, all...)
}

func (r *results) recoveryPlots() (all []*plot.Plot, err error) {
	for i, kind := range aroundKinds {
		p := newPlot(kind.name+" from 20 to 45 s", "", "tokens a second")
		for _, library := range rivals {
			var points plotter.XYs
			for second, n := range r.around[aroundName(library, kind)] {
				points = append(points, plotter.XY{X: float64(second) + 0.5, Y: n})
			}
			line, err := plotter.NewLine(points)
			if err != nil {
				return nil, err
			}
			l := lookOf(library)
			line.Color, line.Dashes, line.Width = l.color, l.dashes, vg.Points(1.5)
			p.Add(line)
			p.Legend.Add(library, line)
		}
		p.Legend.Top, p.Legend.Left, p.Legend.XOffs = true, true, vg.Inch/4
		p.X.Min, p.X.Max, p.Y.Min = 0, aroundLength.Seconds(), 0
		p.Y.Max *= 1.1
		p.X.Tick.Marker, p.Y.Tick.Marker = everyTen(80), everyTen(int(p.Y.Max))
		if i == len(aroundKinds)-1 {
			p.X.Label.Text = "seconds"
		}
		all = append(all, p)
	}
	return all, nil
}
