package gate

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// in runs a test in fake time, with a gate.
func in(t *testing.T, name string, c Config, test func(*testing.T, *Gate)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, New(c)) })
	})
}

// take has a new ticket enter, which must succeed.
func take(t *testing.T, g *Gate) *Turn {
	t.Helper()
	k, caller := g.Ticket(time.Time{})
	turn, err := k.Enter(t.Context(), Rest{})
	require.NoError(t, err)
	t.Cleanup(func() { caller.Leave() })
	return turn
}

// result is what a call of Enter in the background returns, and when.
type result struct {
	turn *Turn
	err  error
	took time.Duration
	done bool
}

func enter(ctx context.Context, k *Ticket, r Rest) *result {
	res, began := &result{}, time.Now()
	go func() {
		res.turn, res.err = k.Enter(ctx, r)
		res.took, res.done = time.Since(began), true
	}()
	synctest.Wait()
	return res
}

func TestGate_ordersByDeadline(t *testing.T) {
	in(t, "of callers, of those who join and leave, and of what is kept", Config{Parallel: 1}, func(t *testing.T, g *Gate) {
		first := take(t, g)
		var mu sync.Mutex
		var order []string
		tickets, callers := map[string]*Ticket{}, map[string]*Caller{}
		add := func(name string, deadline time.Time) {
			tickets[name], callers[name] = g.Ticket(deadline)
			go func() {
				turn, err := tickets[name].Enter(t.Context(), Rest{})
				mu.Lock()
				defer mu.Unlock()
				if order = append(order, name); err != nil {
					order[len(order)-1] += " not"
					return
				}
				turn.End(Outcome{Kind: Good})
			}()
			synctest.Wait()
		}
		now := time.Now()
		add("without a deadline", time.Time{})
		add("ten minutes", now.Add(10*time.Minute))
		add("two minutes", now.Add(2*time.Minute))
		add("joined", now.Add(10*time.Minute))
		add("left", now.Add(time.Second))
		add("left by one of two", now.Add(time.Second))
		add("kept", now.Add(20*time.Minute))
		require.Equal(t, Waiting{Ahead: 6, Cause: Unsure}, tickets["kept"].Waiting())

		require.NotNil(t, tickets["joined"].Join(now.Add(30*time.Second)))
		callers["left"].Leave()
		callers["left"].Leave()
		synctest.Wait()
		require.NotNil(t, tickets["left by one of two"].Join(now.Add(4*time.Minute)))
		callers["left by one of two"].Leave()
		tickets["kept"].Keep(now.Add(time.Minute))
		callers["kept"].Leave()
		require.Equal(t, Waiting{Ahead: 1, Cause: Unsure}, tickets["kept"].Waiting())

		first.End(Outcome{Kind: Good})
		synctest.Wait()
		require.Equal(t, []string{
			"left not", "joined", "kept", "two minutes", "without a deadline", "ten minutes", "left by one of two",
		}, order)
	})
}

func TestGate_abandoned(t *testing.T) {
	in(t, "when the last caller leaves", Config{}, func(t *testing.T, g *Gate) {
		k, caller := g.Ticket(time.Time{})
		first := take(t, g)
		waiting := enter(t.Context(), k, Rest{})
		caller.Leave()
		synctest.Wait()
		require.ErrorIs(t, waiting.err, ErrAbandoned)
		require.Nil(t, k.Join(time.Time{}))
		first.End(Outcome{Kind: Good})
	})
	in(t, "not while a turn of it is under way", Config{}, func(t *testing.T, g *Gate) {
		k, caller := g.Ticket(time.Time{})
		turn, err := k.Enter(t.Context(), Rest{})
		require.NoError(t, err)
		second := enter(t.Context(), k, Rest{Until: time.Now().Add(time.Minute)})
		caller.Leave()
		synctest.Wait()
		require.ErrorIs(t, second.err, ErrAbandoned)
		other := k.Join(time.Time{})
		require.NotNil(t, other, "its turn may still bring something")
		other.Leave()
		require.True(t, k.OnWire())
		turn.End(Outcome{Kind: Failed})
		require.True(t, k.OnWire(), "it isn't known yet what follows")
		_, err = k.Enter(t.Context(), Rest{})
		require.NoError(t, err, "what was found to be down is tried on")
	})
}

func TestGate_kept(t *testing.T) {
	in(t, "until a time, and then it gets no turn", Config{}, func(t *testing.T, g *Gate) {
		first := take(t, g)
		first.End(Outcome{Kind: Throttled, Pause: time.Minute})
		short, leaves := g.Ticket(time.Time{})
		short.Keep(time.Now().Add(10 * time.Second))
		long, goes := g.Ticket(time.Time{})
		long.Keep(time.Now().Add(10 * time.Minute))
		one, other := enter(t.Context(), short, Rest{}), enter(t.Context(), long, Rest{})
		leaves.Leave()
		goes.Leave()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.ErrorIs(t, one.err, ErrAbandoned)
		require.NoError(t, other.err)
		require.NotNil(t, other.turn)
	})
	in(t, "no more", Config{}, func(t *testing.T, g *Gate) {
		k, caller := g.Ticket(time.Time{})
		k.Keep(time.Now().Add(time.Hour))
		caller.Leave()
		waiting := enter(t.Context(), k, Rest{Until: time.Now().Add(time.Minute)})
		k.Keep(time.Time{})
		synctest.Wait()
		require.ErrorIs(t, waiting.err, ErrAbandoned)
	})
}

func TestGate_contexts(t *testing.T) {
	in(t, "one that has ended", Config{}, func(t *testing.T, g *Gate) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		k, _ := g.Ticket(time.Time{})
		_, err := k.Enter(ctx, Rest{})
		require.ErrorIs(t, err, context.Canceled)
	})
	in(t, "one that ends while it waits", Config{}, func(t *testing.T, g *Gate) {
		first := take(t, g)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		k, _ := g.Ticket(time.Time{})
		_, err := k.Enter(ctx, Rest{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, Waiting{Ahead: -1}, k.Waiting())
		first.End(Outcome{Kind: Good})
		_ = take(t, g)
	})
}

func TestGate_refusesWhoWouldLeaveBeforeAPauseEnds(t *testing.T) {
	pause := Outcome{Kind: Throttled, Pause: 10 * time.Second}
	for name, test := range map[string]struct {
		limit  time.Duration
		closed bool
	}{
		"a second before":     {9 * time.Second, true},
		"a second after most": {14 * time.Second, false},
	} {
		in(t, name, Config{}, func(t *testing.T, g *Gate) {
			ctx, cancel := context.WithTimeout(t.Context(), test.limit)
			defer cancel()
			first := take(t, g)
			before, _ := g.Ticket(time.Time{})
			waiting := enter(ctx, before, Rest{})
			opens := first.End(pause)
			require.WithinRange(t, opens, time.Now().Add(10*time.Second), time.Now().Add(13*time.Second))
			synctest.Wait()
			after, _ := g.Ticket(time.Time{})
			late := enter(ctx, after, Rest{})
			for _, r := range []*result{waiting, late} {
				require.Equal(t, test.closed, r.done)
				if test.closed {
					require.Equal(t, Closed{opens}, r.err)
					require.Zero(t, r.took)
				}
			}
			require.Equal(t, opens, g.Status().Opens)
			time.Sleep(time.Until(opens))
			synctest.Wait()
			require.Zero(t, g.Status().Opens)
			require.Equal(t, !test.closed, waiting.turn != nil)
		})
	}
}

func TestGate_endsCountOnce(t *testing.T) {
	in(t, "and the late end of a lost one says nothing", Config{Parallel: 1}, func(t *testing.T, g *Gate) {
		lost := take(t, g)
		second, _ := g.Ticket(time.Time{})
		waiting := enter(t.Context(), second, Rest{})
		lost.End(Outcome{Kind: Failed, Failure: "at its limit"})
		require.Zero(t, lost.End(Outcome{Kind: Throttled, Pause: time.Minute}))
		require.Equal(t, "at its limit", g.Status().Failure)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.NotNil(t, waiting.turn)
		lost.End(Outcome{Kind: Good})
		third, _ := g.Ticket(time.Time{})
		require.False(t, enter(t.Context(), third, Rest{}).done)
		waiting.turn.End(Outcome{Kind: Good, Proves: true})
		require.Equal(t, Status{Proven: true, Shown: true, Users: 1}, g.Status())
	})
}

func TestGate_evicts(t *testing.T) {
	in(t, "in time, without an event", Config{Parallel: 1}, func(t *testing.T, g *Gate) {
		lost := take(t, g)
		next, _ := g.Ticket(time.Time{})
		waiting := enter(t.Context(), next, Rest{})
		began := time.Now()
		<-lost.Evicted
		require.Equal(t, evictAfter, time.Since(began))
		lost.End(Outcome{Kind: Canceled})
		synctest.Wait()
		require.NotNil(t, waiting.turn)
	})
}
