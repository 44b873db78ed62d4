package main

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// These run with azidentity too, whose figures are known.

func TestChain_waitsForTheFirstLink(t *testing.T) {
	for i := range 2 {
		inTime(t, func(t *testing.T) {
			got := chain(theirs, silences(i))
			require.Greater(t, got.first, time.Minute)
			require.Zero(t, got.others)
			require.Greater(t, got.calls, 170)
		})
	}
}

func TestChallenges_takeARequestEach(t *testing.T) {
	for _, host := range hosts {
		inTime(t, func(t *testing.T) {
			require.Zero(t, party{theirs, host}.again().refused, host)
			require.Equal(t, 100, party{theirs, host}.together().requests, host)
		})
	}
}

func TestAhead_judgesByTheSitesClock(t *testing.T) {
	inTime(t, func(t *testing.T) {
		require.Equal(t, hour{requests: 120}, ahead(theirs), "nothing is kept")
	})
}

func TestFar_endsWithoutARefresh(t *testing.T) {
	inTime(t, func(t *testing.T) { require.Equal(t, farWatched, far(theirs)) })
}

func TestHanging_countsWhoNeverReturns(t *testing.T) {
	for host, later := range map[string]int{imds: 0, entra: 20} { // where a mutex is held
		inTime(t, func(t *testing.T) {
			require.Equal(t, hangover{own: 1, later: later}, hanging(party{theirs, host}, 1), host)
		})
	}
}

func TestClosing_leavesRequestsAlone(t *testing.T) {
	inTime(t, func(t *testing.T) { require.Zero(t, closing(party{theirs, imds})) })
}

func TestPanicking_tellsHowTheServiceEnds(t *testing.T) {
	require.Equal(t, nextServed, panicking(t, theirs))
	require.Equal(t, 2, panicking(t, "a library that crashes"))
}

func TestSite_takesItsTokensUntilTheyEnd(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newSite()
		s.numbered = true
		c, k := party{theirs, imds}.credential(s), freshKey()
		require.Equal(t, "t1", text(c, k))
		require.True(t, s.valid("t1"))
		require.False(t, s.valid("t2"))
		time.Sleep(time.Hour)
		require.False(t, s.valid("t1"))
		require.Equal(t, "t2", text(c, k))
	})
}

func TestWatched_doesNotWaitForEver(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newSite()
		s.meets = func(time.Duration, int) mishap { return hangs }
		began := time.Now()
		err := watched(party{theirs, imds}.credential(s), freshKey(), time.Second)
		require.Equal(t, errors.New("the call goes on"), err)
		require.Equal(t, 2*time.Second, time.Since(began))
		close(s.free)
	})
}

func TestOutlasting_countsFromTheEnd(t *testing.T) {
	inTime(t, func(t *testing.T) {
		got := outlasting(party{theirs, imds}, muteness, 10*time.Second)
		require.InDelta(t, 52.5, got.Seconds(), 4, "azidentity waits for a minute, and rests")
	})
}
