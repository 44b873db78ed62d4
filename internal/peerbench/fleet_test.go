package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTraffic(t *testing.T) {
	g := &traffic{perSecond: []int{5, 1, 0, 3, 1}}
	require.Equal(t, 10, g.total())
	require.Equal(t, 5, g.peak(0, time.Minute))
	require.Equal(t, 3, g.peak(time.Second, 4*time.Second))
	require.Equal(t, 4.0/3, g.mean(time.Second, 4*time.Second))
}

func TestFleet_refreshesOnceInATokensLife(t *testing.T) {
	f := fleet{processes: 20, start: time.Minute, length: 8 * time.Hour,
		shortest: time.Hour, longest: time.Hour, polls: 5 * time.Second}
	g := f.run(t)
	// a token serves 55 minutes: requests at 0:00, 0:55, … 7:20
	require.Equal(t, 20*9, g.total())
	require.Zero(t, g.failed.Load())
	require.Zero(t, g.late.Load())
}

func TestFleet_jitterRefreshesEarlierOnly(t *testing.T) {
	f := fleet{processes: 20, start: time.Minute, length: 54 * time.Minute,
		shortest: time.Hour, longest: time.Hour, polls: 5 * time.Second, jitter: true}
	g := f.run(t)
	require.Greater(t, g.total(), 20)
	require.LessOrEqual(t, g.total(), 40)
	require.Zero(t, g.peak(2*time.Minute, 49*time.Minute))
}

func TestFleet_outageShortOfTheMarginFailsNobody(t *testing.T) {
	f := fleet{processes: 20, start: time.Minute, length: 2 * time.Hour,
		shortest: time.Hour, longest: 90 * time.Minute, polls: 5 * time.Second,
		down: 58 * time.Minute, up: 62 * time.Minute}
	require.Zero(t, f.run(t).failed.Load())
}
