package gate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMachine_aLateRequestLetsTheNextOneGo(t *testing.T) {
	for _, test := range []struct {
		name    string
		latency time.Duration // of an answer before
		late    time.Duration
	}{
		{"unknown", 0, time.Second},
		{"quick", 20 * time.Millisecond, time.Second},
		{"slow", 800 * time.Millisecond, 1600 * time.Millisecond},
		{"very slow", 4 * time.Second, 5 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(Config{}, 0)
			if test.latency > 0 {
				first := s.enter(s.ticket(), 0)
				s.pass(test.latency)
				s.finish(first, Outcome{Kind: Good})
			}
			all := s.crowd(4)
			for i, k := range all[:s.window] {
				require.NotNil(t, k.turn, i)
			}
			next := all[s.window]
			require.Equal(t, test.late, s.until(next))
			require.Equal(t, 1, s.window, "the endpoint fails")
		})
	}
}

func TestMachine_whenALateRequestIsAFailure(t *testing.T) {
	t.Run("not where another began later and was answered", func(t *testing.T) {
		s := newScript(Config{}, 0)
		s.finish(s.enter(s.ticket(), 0), Outcome{Kind: Good})
		s.enter(s.ticket(), 0)
		s.pass(500 * time.Millisecond)
		s.finish(s.enter(s.ticket(), 0), Outcome{Kind: Good})
		s.enter(s.ticket(), 0)
		s.pass(500 * time.Millisecond)
		require.Equal(t, []bool{true, false}, []bool{s.turns[0].late, s.turns[1].late})
		require.Zero(t, s.failures)
	})
	t.Run("one that fails later is no second failure", func(t *testing.T) {
		s := newScript(Config{}, 0)
		lost := s.enter(s.ticket(), 0)
		s.enter(s.ticket(), time.Hour)
		s.pass(10 * time.Second)
		require.Equal(t, 1, s.failures)
		s.finish(lost, Outcome{Kind: Failed})
		require.Equal(t, 1, s.failures)
	})
}

func TestMachine_eviction(t *testing.T) {
	for _, test := range []struct {
		name   string
		heard  int // which of three requests was answered; -1: none
		victim int // which of them gives its place
	}{
		{"nothing was heard: the youngest", -1, 2},
		{"a later one was answered: the oldest", 2, 0},
		{"one in between was answered: the one before it", 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(Config{Parallel: 3}, 0)
			s.window = 3
			for range 3 {
				s.enter(s.ticket(), 0)
				s.pass(100 * time.Millisecond)
			}
			lost := append([]*Turn(nil), s.turns...)
			if test.heard >= 0 {
				s.finish(lost[test.heard], Outcome{Kind: Good})
				s.enter(s.ticket(), 0)
			}
			s.pass(4 * time.Second)
			for _, turn := range s.turns {
				require.False(t, turn.evicted, "while nobody waits")
			}
			k := s.ticket()
			s.enter(k, 0)
			for i, turn := range lost {
				require.Equal(t, i == test.victim, turn.evicted, i)
			}
			for _, turn := range lost {
				select {
				case <-turn.Evicted:
					s.finish(turn, Outcome{Kind: Canceled})
				default:
				}
			}
			require.NotNil(t, k.turn)
		})
	}
}

func TestMachine_whenATurnIsEvicted(t *testing.T) {
	t.Run("three seconds after it began at the earliest", func(t *testing.T) {
		s := newScript(Config{Parallel: 1}, 0)
		lost := s.enter(s.ticket(), 0)
		s.enter(s.ticket(), 0)
		s.pass(evictAfter - 1)
		require.False(t, lost.evicted)
		s.pass(1)
		require.True(t, lost.evicted)
	})
	t.Run("where the limit is that of a second", func(t *testing.T) {
		s := newScript(Config{PerSecond: 1}, 0)
		lost, k := s.enter(s.ticket(), 0), s.ticket()
		s.enter(k, 0)
		s.pass(evictAfter)
		require.True(t, lost.evicted)
		s.finish(lost, Outcome{Kind: Canceled})
		require.Equal(t, time.Second, s.until(k))
	})
}

// TestMachine_aSlowEndpointIsNotLate has an endpoint answer after four seconds, and more wait than it takes at once.
func TestMachine_aSlowEndpointIsNotLate(t *testing.T) {
	s := newScript(Config{Parallel: 5}, 0)
	s.crowd(100)
	evicted, served := 0, 0
	for began := s.now; s.now.Sub(began) < 2*time.Minute; s.pass(100 * time.Millisecond) {
		for _, turn := range append([]*Turn(nil), s.turns...) {
			switch {
			case turn.evicted:
				evicted++
				s.finish(turn, Outcome{Kind: Canceled})
			case s.now.Sub(turn.began) >= 4*time.Second:
				served++
				s.finish(turn, Outcome{Kind: Good})
			}
		}
	}
	require.LessOrEqual(t, evicted, 5, "while its latency is unknown")
	require.Equal(t, 100, served+evicted)
}
