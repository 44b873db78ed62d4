package gate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPresence(t *testing.T) {
	type step struct {
		at time.Duration
		do func(*script)
	}
	begin := func(s *script) { s.begin(s.now, s.waiting()) }
	connect := func(n int) func(*script) {
		return func(s *script) {
			s.turns[n].connected = s.now
			s.connect(s.now)
		}
	}
	end := func(o Outcome) func(*script) { return func(s *script) { s.end(s.now, s.turns[0], o) } }
	patient := func(s *script) { s.patient = true }
	const second, silence = time.Second, "no answer in time"
	lost := Outcome{Kind: Failed, Silent: true, Failure: "lost"}
	cut := Outcome{Kind: Failed, Failure: "cut"}
	foreign := Outcome{Kind: Good, Foreign: true, Failure: "a proxy's"}
	for _, test := range []struct {
		name   string
		steps  []step
		absent time.Duration // from when; -1: never
		cause  string
	}{
		{"nobody asks", nil, -1, ""},
		{"no connection within three seconds", []step{{0, begin}}, 3 * second, silence},
		{"nor for the second", []step{{0, begin}, {second, begin}}, 3 * second, silence},
		{"one silent connection: twice its time", []step{{0, begin}, {second, connect(0)}}, 21 * second, silence},
		{"two silent connections", []step{{0, begin}, {0, connect(0)}, {second, begin}, {second, connect(1)}},
			10 * second, silence},
		{"the second has its time", []step{{0, begin}, {0, connect(0)}, {9 * second, begin}, {9 * second, connect(1)}},
			12 * second, silence},
		{"hidden connections, one request", []step{{0, patient}, {0, begin}}, 20 * second, silence},
		{"hidden connections, two requests", []step{{0, patient}, {0, begin}, {second, begin}}, 10 * second, silence},
		{"the network says no at once", []step{{0, begin}, {0, end(lost)}}, 0, "lost"},
		{"a lost connection proves nothing", []step{{0, begin}, {0, connect(0)}, {second, end(lost)}}, -1, ""},
		{"a second one does", []step{{0, begin}, {0, connect(0)}, {0, end(lost)}, {0, begin}, {0, connect(0)},
			{second, end(lost)}}, second, "lost"},
		{"a second one that is silent does", []step{{0, begin}, {0, connect(0)}, {0, end(lost)}, {0, begin},
			{0, connect(0)}}, 10 * second, silence},
		{"a connection that is cut does", []step{{0, begin}, {0, connect(0)}, {second, end(cut)}}, second, "cut"},
		{"given up", []step{{0, begin}, {0, end(Outcome{Kind: Canceled})}}, -1, ""},
		{"somebody else's answer", []step{{0, begin}, {second, end(foreign)}}, second, "a proxy's"},
		{"its own answer", []step{{0, begin}, {0, end(Outcome{Kind: Good, Proves: true})}, {0, begin}}, -1, ""},
		{"its own 500", []step{{0, begin}, {0, end(Outcome{Kind: Failed, Proves: true})}}, -1, ""},
		{"its own answer before somebody else's", []step{{0, begin}, {0, begin},
			{0, end(Outcome{Proves: true})}, {0, end(foreign)}}, -1, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(Config{}, 0)
			for _, step := range test.steps {
				s.now = epoch.Add(step.at)
				step.do(s)
			}
			verdict, look := s.verdict()
			for ; verdict == nil && !look.IsZero(); verdict, look = s.verdict() {
				require.True(t, look.After(s.now))
				s.now = look
			}
			if test.absent < 0 {
				require.Nil(t, verdict)
				return
			}
			require.NotNil(t, verdict)
			require.Equal(t, test.absent, s.now.Sub(epoch))
			require.Equal(t, test.cause, verdict.Cause)
			require.Equal(t, test.cause == foreign.Failure, verdict.Foreign)
			require.Equal(t, 5*second, look.Sub(s.now), "it is believed for five seconds")
		})
	}
}

func (s *script) verdict() (*Absence, time.Time) { return s.absence(s.now) }

// waiting makes a ticket that is in the queue, whether or not it may have a turn.
func (s *script) waiting() *Ticket {
	k := s.ticket()
	k.wake = make(chan struct{})
	s.want(s.now, k, Rest{})
	return k
}

func TestPresence_isForgottenAndFoundAgain(t *testing.T) {
	s := newScript(Config{}, 0)
	s.finish(s.enter(s.ticket(), 0), Outcome{Kind: Failed, Failure: "refused"})
	s.now = epoch.Add(absentMemory - 1)
	verdict, until := s.verdict()
	require.NotNil(t, verdict)
	require.Equal(t, epoch.Add(absentMemory), until)
	s.now = until
	verdict, until = s.verdict()
	require.Nil(t, verdict)
	require.Zero(t, until)
	turn := s.enter(s.ticket(), 0)
	s.pass(connectLimit)
	verdict, _ = s.verdict()
	require.NotNil(t, verdict, "silence, again")
	s.finish(turn, Outcome{Kind: Good, Proves: true})
	verdict, until = s.verdict()
	require.Nil(t, verdict, "it was late")
	require.Zero(t, until)
}
