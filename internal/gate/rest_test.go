package gate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMachine_wakesWhoRests lets a ticket rest from its first turn's end.
func TestMachine_wakesWhoRests(t *testing.T) {
	const eight = 8 * time.Second
	failed, canceled := Outcome{Kind: Failed}, Outcome{Kind: Canceled}
	pause := func(d time.Duration) Outcome { return Outcome{Kind: Throttled, Pause: d} }
	success := func(s *script, _ *Ticket) { s.finish(s.enter(s.ticket(), 0), Outcome{Kind: Good}) }
	for _, test := range []struct {
		name  string
		first Outcome
		rest  time.Duration
		after time.Duration // the beginning of the rest; then:
		event func(*script, *Ticket)
		turn  time.Duration // after the beginning of the rest
		early bool
	}{
		{"nothing happens", failed, eight, 0, nil, eight, false},
		{"a caller comes", failed, eight, 3 * time.Second, (*script).caller, 3 * time.Second, true},
		{"a caller comes at once", failed, eight, 300 * time.Millisecond, (*script).caller, time.Second, true},
		{"a caller comes to a rest of less than a second", canceled, 800 * time.Millisecond,
			300 * time.Millisecond, (*script).caller, 800 * time.Millisecond, false},
		{"another's success after the failure", failed, eight, 3 * time.Second, success, 3 * time.Second, false},
		{"another's success without a failure", canceled, eight, 3 * time.Second, success, eight, false},
		{"the end of a pause", pause(5 * time.Second), eight, 0, nil, 5 * time.Second, true},
		{"the end of a pause, less than a second later", pause(time.Millisecond), eight, 0, nil, time.Second, true},
		{"the end of a pause, after the rest", pause(5 * time.Second), 3 * time.Second, 0, nil, 5 * time.Second, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(Config{}, 0)
			k := s.ticket()
			s.finish(s.enter(k, 0), test.first)
			began := s.now
			require.Nil(t, s.enter(k, test.rest))
			s.pass(test.after)
			if test.event != nil {
				test.event(s, k)
			}
			s.until(k)
			require.Equal(t, test.turn, s.now.Sub(began))
			require.Equal(t, test.early, k.turn.Early)
		})
	}
}

func TestMachine_whoCameDuringATryShortensTheNextRest(t *testing.T) {
	for _, test := range []struct {
		name  string
		came  bool
		wait  time.Duration
		early bool
	}{
		{"nobody came", false, 8 * time.Second, false},
		{"a caller came", true, 700 * time.Millisecond, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(Config{}, 0)
			k := s.ticket()
			first := s.enter(k, 0)
			if s.pass(300 * time.Millisecond); test.came {
				s.caller(k)
			}
			s.finish(first, Outcome{Kind: Failed})
			require.Nil(t, s.enter(k, 8*time.Second))
			require.Equal(t, test.wait, s.until(k))
			require.Equal(t, test.early, k.turn.Early)
		})
	}
	t.Run("the first rest of a new ticket is its own", func(t *testing.T) {
		s := newScript(Config{}, 0)
		k := s.ticket()
		require.Nil(t, s.enter(k, 8*time.Second))
		require.Equal(t, 8*time.Second, s.until(k))
	})
}
