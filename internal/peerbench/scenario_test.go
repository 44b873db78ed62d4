package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The scenarios are run with azidentity, whose figures are known and stay what they are.

func TestAfter_countsTheCallsAfterTheEnd(t *testing.T) {
	for _, kind := range []mishap{fails, refuses, silence} {
		inTime(t, func(t *testing.T) {
			got := after(party{theirs, imds}, kind, 10*time.Second, true)
			require.Zero(t, got.failed, kind.name)
			require.Less(t, got.first, 1100*time.Millisecond, kind.name)
		})
	}
}

func TestStorm_judgesHealthyTimesOnly(t *testing.T) {
	w := &storm{spells: []spell{{from: 10 * time.Second, to: 20 * time.Second},
		{from: 40 * time.Second, to: time.Minute}}}
	for at, judged := range map[time.Duration]bool{0: false, 15: false, 21: false, 22: true, 34: true, 35: false,
		50: false, 62: true} {
		require.Equal(t, judged, w.judged(at*time.Second), at)
	}
}

func TestStorm_isTheSameForAll(t *testing.T) {
	a, b := newStorm(imds, 3), newStorm(imds, 3)
	require.Equal(t, a, b)
	require.NotEqual(t, a.calls, newStorm(imds, 4).calls)
	for _, s := range a.spells {
		require.Less(t, s.from, s.to)
	}
}

func TestLone_waitsAsLongAsItIsAsked(t *testing.T) {
	inTime(t, func(t *testing.T) {
		require.InDelta(t, 3, lone(party{theirs, imds}, 3), 0.2)
	})
}

func TestLosing_countsWhoWaitsForNothing(t *testing.T) {
	inTime(t, func(t *testing.T) {
		got := losing(party{theirs, imds}, 0, muteness, 10*time.Second)
		require.Equal(t, crush{failed: 1, longest: 10 * time.Second, requests: 20}, got)
	})
}

func TestThawing_countsFromTheEnd(t *testing.T) {
	inTime(t, func(t *testing.T) {
		got := thawing(theirs, 20*time.Second)
		require.Positive(t, got.first)
		require.GreaterOrEqual(t, got.last, got.first)
		require.Greater(t, got.requests, 20)
	})
}

func TestNode_startsAllProcesses(t *testing.T) {
	inTime(t, func(t *testing.T) {
		got := node{processes: 4, scopes: 1}.start(theirs)
		require.Zero(t, got.failed)
		require.Equal(t, 4, got.requests)
		require.LessOrEqual(t, got.longest, 50*time.Millisecond)
	})
}

func TestPeak_isOfAnySecond(t *testing.T) {
	require.Equal(t, 3, sample{0, 0.9, 1.5, 1.8, 4, 5}.peak())
	require.Zero(t, sample{}.peak())
}

func TestOutageOfNode_endsWithATokenForEach(t *testing.T) {
	inTime(t, func(t *testing.T) {
		got := outageOfNode(theirs, 2)
		require.Positive(t, got.last)
		require.Less(t, got.last, 10*time.Second)
		require.Greater(t, got.requests, 2*60)
	})
}

func TestAnswered_isNothingInAnOutage(t *testing.T) {
	inTime(t, func(t *testing.T) {
		got := answered(theirs, fails)
		require.Equal(t, 12.0, got[10])
		require.Zero(t, got[40])
	})
}

func TestLeft_seesWhatIsHeld(t *testing.T) {
	var held [][]byte
	holds := keeping{"of a slice", func(*household, int) { held = append(held, make([]byte, 8_000)) }}
	require.InDelta(t, 8_000, left(t, theirs, holds, 500), 1_000)
	require.Len(t, held, 500)
}
