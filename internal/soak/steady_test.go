package main

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHealth(t *testing.T) {
	now := time.Now()
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	h := &health{spans: map[string][]span{}}
	h.setReady(now)
	h.apply(at(1), change{imdsName, healthy, 0}) // it took a second to arrive
	h.apply(at(5), change{imdsName, healthy, 4 * time.Second})
	s, ok := h.during(imdsName, at(3), at(100))
	require.True(t, ok, "it lasts")
	require.Equal(t, span{healthy, at(1), time.Time{}}, s)
	h.apply(at(10), change{imdsName, faulty, 8 * time.Second})
	_, ok = h.during(imdsName, at(3), at(8))
	require.False(t, ok)
	s, ok = h.during(imdsName, at(3), at(7))
	require.True(t, ok)
	require.Equal(t, span{healthy, at(1), at(8)}, s)
	_, ok = h.during(entraName, at(3), at(7))
	require.False(t, ok)
}

func TestJudge_checkSteady(t *testing.T) {
	now := time.Now()
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	failed, standstill := errors.New("failed"), &stall{from: at(4), to: at(5)}
	for name, tt := range map[string]struct {
		call call
		gap  *stall
		open time.Time
		want int
	}{
		"in time": {call: call{began: at(3), ended: at(8), limit: at(8), err: failed, contextEnded: true},
			want: 1},
		"at once":           {call: call{began: at(3), ended: at(3), limit: at(8), err: failed}, want: 1},
		"a token":           {call: call{began: at(3), ended: at(8), limit: at(8)}},
		"too little time":   {call: call{began: at(3), ended: at(7), limit: at(7), err: failed}},
		"too soon":          {call: call{began: at(1), ended: at(8), limit: at(8), err: failed}},
		"no longer healthy": {call: call{began: at(3), ended: at(21), limit: at(21), err: failed}},
		"a dropped credential": {call: call{key: key{dropped: "x"}, began: at(3), ended: at(8), limit: at(8),
			err: failed}},
		"after a long pause": {call: call{began: at(3), ended: at(8), limit: at(8), err: failed}, open: at(2)},
		"suspended":          {call: call{began: at(3), ended: at(8), limit: at(8), err: failed}, gap: standstill},
		"suspended long before": {call: call{began: at(7), ended: at(12), limit: at(12), err: failed}, gap: standstill,
			want: 1},
		"held up, and has left": {call: call{began: at(7), ended: at(12), limit: at(12), err: failed,
			contextEnded: true},
			gap: &stall{from: at(9), to: at(10), lost: 100 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTestRecorder()
			if tt.gap != nil {
				if tt.gap.lost == 0 {
					r.stalls.gaps = []stall{*tt.gap}
				}
				r.stalls.list = []stall{*tt.gap}
			}
			r.gates[imdsName].opensLatest = tt.open
			h := &health{spans: map[string][]span{imdsName: {{healthy, at(0), at(20)}}}}
			j := &judge{recorder: r, health: h, steady: map[condition]steady{}}
			j.checkSteady(tt.call)
			require.Equal(t, tt.want, r.counts()["no call with five seconds fails at a healthy endpoint"])
		})
	}
}

func TestGrew(t *testing.T) {
	const mb = 1 << 20
	require.False(t, grew([]uint64{1 * mb, 99 * mb}), "too few samples")
	require.False(t, grew([]uint64{9 * mb, 5 * mb, 40 * mb, 40 * mb, 40 * mb, 13 * mb}),
		"the least of each third counts")
	require.True(t, grew([]uint64{9 * mb, 5 * mb, 5 * mb, 5 * mb, 40 * mb, 15 * mb}))
}

func TestWords(t *testing.T) {
	v := &violations{count: map[string]int{}}
	w := &textChecker{v, []string{forbiddenText, opaque}}
	w.logger().Debug("a record", "value", forbiddenText)
	w.checkError("a call", errors.New("nothing of note"))
	require.Equal(t, map[string]int{"no secret and no panic's value in errors and logs": 1}, v.counts())
}
