package gate

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMachine_requestsGrowWithGoodAnswers(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(*script)
		rounds []int
	}{
		{"new endpoint", func(*script) {}, []int{1, 2, 4, 8, 16, 32, 33, 34}},
		{"after the first answer's pause", func(s *script) {
			s.round(Outcome{Kind: Throttled, Pause: time.Second})
			s.pass(time.Second)
		}, []int{1, 2, 4, 8, 9, 10}},
		{"after a pause at 40 requests: slowly from half of them", func(s *script) {
			for s.window < 40 {
				s.round(Outcome{Kind: Good})
			}
			s.round(Outcome{Kind: Throttled, Pause: time.Second})
			s.pass(time.Second)
		}, []int{1, 2, 4, 8, 16, 20, 21, 22}},
		{"after a failure", func(s *script) {
			for s.window < 8 {
				s.round(Outcome{Kind: Good})
			}
			s.finish(s.turns[0], Outcome{Kind: Failed})
			s.round(Outcome{Kind: Canceled})
			s.pass(time.Second)
		}, []int{1, 2, 4, 8}},
		{"answers from before a pause don't count", func(s *script) {
			s.round(Outcome{Kind: Good})
			s.round(Outcome{Kind: Good})
			s.finish(s.turns[0], Outcome{Kind: Throttled, Pause: time.Second})
			s.round(Outcome{Kind: Good})
			s.pass(time.Second)
		}, []int{1, 2, 4, 8}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(Config{}, 0)
			s.crowd(1500)
			test.before(s)
			var rounds []int
			for range test.rounds {
				rounds = append(rounds, s.round(Outcome{Kind: Good}))
			}
			require.Equal(t, test.rounds, rounds)
		})
	}
}

func TestMachine_backOffWithoutANamedPause(t *testing.T) {
	for _, test := range []struct {
		name   string
		jitter float64
		pauses []time.Duration
	}{
		{"the shortest", 0, []time.Duration{time.Second, 1500 * time.Millisecond, 2250 * time.Millisecond}},
		{"the median", 0.5, []time.Duration{2500 * time.Millisecond, 3750 * time.Millisecond, 3750 * time.Millisecond}},
		{"the longest", 1, []time.Duration{4 * time.Second, 5 * time.Second, 5 * time.Second}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(Config{}, test.jitter)
			s.crowd(10)
			again := func() time.Duration {
				s.finish(s.turns[0], Outcome{Kind: Throttled})
				pause := s.opens.Sub(s.now)
				s.pass(pause)
				require.NotEmpty(t, s.turns)
				return pause
			}
			for i, want := range test.pauses {
				require.Equal(t, want, again(), i)
			}
			s.finish(s.turns[0], Outcome{Kind: Good})
			require.Equal(t, test.pauses[0], again(), "after a good answer")
		})
	}
}

func TestMachine_aNamedPauseIsKeptAndSpread(t *testing.T) {
	for _, test := range []struct {
		pause  time.Duration
		jitter float64
		want   time.Duration
	}{
		{time.Second, 0, time.Second},
		{time.Second, 0.5, 1150 * time.Millisecond},
		{time.Second, 1, 1300 * time.Millisecond},
		{time.Minute, 0, time.Minute},
		{time.Minute, 1, time.Minute + 3*time.Second},
	} {
		t.Run(fmt.Sprint(test.pause, " with ", test.jitter), func(t *testing.T) {
			s := newScript(Config{}, test.jitter)
			all := s.crowd(2)
			s.finish(s.turns[0], Outcome{Kind: Throttled, Pause: test.pause})
			require.Equal(t, test.want, s.until(all[1]))
		})
	}
}

func TestMachine_whichPauseCounts(t *testing.T) {
	named := func(d time.Duration) Outcome { return Outcome{Kind: Throttled, Pause: d} }
	for _, test := range []struct {
		name   string
		second Outcome
		after  time.Duration // the first
		opens  time.Duration // after the first
		window int
	}{
		{"a longer one prolongs it", named(5 * time.Second), 0, 5 * time.Second, 1},
		{"a shorter one does not shorten it", named(time.Second), 0, 2 * time.Second, 1},
		{"one without a time says the same again", Outcome{Kind: Throttled}, time.Second, 2 * time.Second, 1},
		{"when it is over, one without a time says nothing", Outcome{Kind: Throttled}, 3 * time.Second, 0, 2},
		{"when it is over, one with a time begins another", named(2 * time.Second), 3 * time.Second, 5 * time.Second, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(Config{}, 0)
			first := s.enter(s.ticket(), 0)
			s.finish(first, Outcome{Kind: Good})
			old, other := s.enter(s.ticket(), 0), s.enter(s.ticket(), 0)
			s.finish(other, named(2*time.Second))
			began := s.now
			s.pass(test.after)
			if s.closed = s.now.Before(s.opens); !s.closed {
				s.finish(s.enter(s.ticket(), 0), Outcome{Kind: Good})
			}
			s.finish(old, test.second)
			if test.opens == 0 {
				require.False(t, s.closed)
			} else {
				require.Equal(t, test.opens, s.opens.Sub(began))
			}
			require.Equal(t, test.window, s.window)
		})
	}
}

func TestMachine_anOldAnswerIsNoNews(t *testing.T) {
	s := newScript(Config{}, 0)
	s.finish(s.enter(s.ticket(), 0), Outcome{Kind: Good})
	old, other := s.enter(s.ticket(), 0), s.enter(s.ticket(), 0)
	s.pass(10 * time.Millisecond)
	s.finish(other, Outcome{Kind: Throttled, Pause: 2 * time.Second})
	s.pass(2 * time.Second)
	k := s.ticket()
	s.finish(s.enter(k, 0), Outcome{Kind: Failed})
	s.enter(k, 8*time.Second)
	s.finish(old, Outcome{Kind: Throttled})
	require.Equal(t, 1, s.failures, "it fails all the same")
	s.pass(2 * time.Second)
	s.finish(s.enter(s.ticket(), 0), Outcome{Kind: Good})
	require.NotNil(t, k.turn, "the success wakes who rests")
}

func TestMachine_spacingAtAFailingEndpoint(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, test := range []struct {
		name     string
		failures int
		untried  bool
		pace     time.Duration
		least    time.Duration
		most     time.Duration
	}{
		{"once, somebody new", 1, true, time.Second, ms(1000), ms(1200)},
		{"nine times, somebody new", 9, true, time.Second, ms(1000), ms(1200)},
		{"once, nobody new", 1, false, time.Second, ms(1000), ms(1200)},
		{"twice, nobody new", 2, false, time.Second, ms(1500), ms(1800)},
		{"three times, nobody new", 3, false, time.Second, ms(2250), ms(2700)},
		{"nine times, nobody new: at most five seconds", 9, false, time.Second, ms(4166), ms(5000)},
		{"a million times, nobody new", 1e6, false, time.Second, ms(4166), ms(5000)},
		{"with a pace of its own", 9, false, 10 * time.Second, ms(10000), ms(12000)},
	} {
		t.Run(test.name, func(t *testing.T) {
			for jitter, want := range map[float64]time.Duration{0: test.least, 1: test.most} {
				s := newScript(Config{}, jitter)
				k := s.ticket()
				for !test.untried && s.now.Equal(epoch) {
					s.finish(s.enter(k, 0), Outcome{Kind: Failed})
					s.pass(time.Hour)
				}
				s.failures, s.last, s.spread, s.window = test.failures, s.now, jitter, 1
				k.wake, k.turn = make(chan struct{}), nil
				s.want(s.now, k, Rest{Pace: test.pace})
				s.look()
				require.InDelta(t, want, s.until(k), float64(time.Millisecond))
			}
		})
	}
}
