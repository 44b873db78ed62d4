package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSample(t *testing.T) {
	for name, c := range map[string]struct {
		s           sample
		min, median float64
	}{
		"one":           {sample{3}, 3, 3},
		"odd":           {sample{9, 1, 2}, 1, 2},
		"even":          {sample{4, 1, 3, 100}, 1, 3.5},
		"with outliers": {sample{5, 5, 5, 5000, 5}, 5, 5},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.min, c.s.min())
			require.Equal(t, c.median, c.s.median())
		})
	}
}

func TestSample_overTakesTheRatioOfEachRound(t *testing.T) {
	floor := sample{100, 200, 400} // the machine slows down
	least, median := sample{150, 300, 600}.over(floor)
	require.Equal(t, 1.5, least)
	require.Equal(t, 1.5, median)
}

func TestFigures(t *testing.T) {
	require.Equal(t, []string{"0", "999", "1,000", "12,345,678", "-1,000"},
		[]string{thousands(0), thousands(999), thousands(1000), thousands(12345678), thousands(-1000)})
	require.Equal(t, []string{"95 ns", "1.23 µs", "41 µs", "2.5 ms", "1.5 s"},
		[]string{nanos(95.2), nanos(1234), nanos(41000), nanos(2.5e6), nanos(1.5e9)})
	require.Equal(t, []string{"0 s", "500 ms", "3.0 s", "103 s"},
		[]string{seconds(10 * time.Microsecond), seconds(500 * time.Millisecond), seconds(3 * time.Second),
			seconds(103 * time.Second)})
	require.Equal(t, []string{"× 1.22", "× 21,340"}, []string{times(1.222), times(21340.4)})
}

func TestGoal(t *testing.T) {
	for name, c := range map[string]struct {
		g    goal
		met  bool
		miss string
	}{
		"at the limit": {atMost("", 1.3, 1.3, "× %.2f"), true, ""},
		"above":        {atMost("", 627, 250, "%.0f KB"), false, "377 KB above"},
		"enough":       {atLeast("", 100, 100, "%.0f %%"), true, ""},
		"below":        {atLeast("", 16.9, 100, "%.1f %%"), false, "83.1 % below"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.met, c.g.met)
			require.Equal(t, c.miss, c.g.miss)
		})
	}
}

func TestTable(t *testing.T) {
	var out table
	s := out.section("Cold", "A note.", ours, msal)
	r := s.row("requests")
	r.set(ours, 1, "%d", 1)
	r.fill("has none", ours, msal)
	require.Equal(t, 1.0, out.get("Cold", "requests", ours).value)
	require.Panics(t, func() { out.get("Cold", "request", ours) })
	var page strings.Builder
	out.write(&page)
	require.Equal(t, "\n### Cold\n\nA note.\n\n|  | managedid | MSAL Go |\n| --- | ---: | ---: |\n"+
		"| requests | 1 | has none |\n", page.String())
}
