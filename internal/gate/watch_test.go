package gate

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rung tells whether there was news.
func rung(news <-chan struct{}) bool {
	select {
	case <-news:
		return true
	default:
		return false
	}
}

func TestGate_watch(t *testing.T) {
	for name, test := range map[string]struct {
		event func(*Turn)
		rings bool
	}{
		"a pause":                 {func(t *Turn) { t.End(Outcome{Kind: Throttled, Pause: time.Second}) }, true},
		"a proof":                 {func(t *Turn) { t.End(Outcome{Kind: Good, Proves: true}) }, true},
		"a refusal":               {func(t *Turn) { t.End(Outcome{Kind: Failed, Failure: "refused"}) }, true},
		"a connection":            {(*Turn).Connected, true},
		"an eviction says naught": {func(t *Turn) {}, false},
	} {
		in(t, name, Config{}, func(t *testing.T, g *Gate) {
			turn := take(t, g)
			news, status := g.Watch()
			require.Equal(t, time.Now().Add(connectLimit), status.Look)
			test.event(turn)
			require.Equal(t, test.rings, rung(news))
			again, _ := g.Watch()
			require.False(t, rung(again))
		})
	}
	in(t, "not an answer of one that is known", Config{}, func(t *testing.T, g *Gate) {
		take(t, g).End(Outcome{Kind: Good, Proves: true})
		turn := take(t, g)
		news, _ := g.Watch()
		turn.Connected()
		turn.End(Outcome{Kind: Good})
		require.False(t, rung(news))
	})
}

func TestGate_watchedForAbsence(t *testing.T) {
	in(t, "where connections are hidden", Config{}, func(t *testing.T, g *Gate) {
		g.ShowConnections(false)
		news, status := g.Watch()
		require.Zero(t, status.Look)
		take(t, g)
		require.True(t, rung(news), "from now on silence counts")
		began := time.Now()
		news, status = g.Watch()
		require.Equal(t, began.Add(2*answerLimit), status.Look)
		take(t, g)
		require.WithinRange(t, time.Now(), began.Add(time.Second), began.Add(1200*time.Millisecond))
		require.True(t, rung(news), "two that are silent prove it earlier")
		require.Equal(t, began.Add(answerLimit), g.Status().Look)
	})
}

func TestGate_underLoad(t *testing.T) {
	in(t, "keeps its limits and serves all", Config{Parallel: 5, PerSecond: 20}, func(t *testing.T, g *Gate) {
		var mu sync.Mutex
		var begun []time.Time
		active := 0
		var all sync.WaitGroup
		for range 300 {
			all.Go(func() {
				k, caller := g.Ticket(time.Time{})
				defer caller.Leave()
				turn, err := k.Enter(t.Context(), Rest{})
				if err != nil {
					panic(err)
				}
				mu.Lock()
				active++
				begun = append(begun, time.Now())
				if active > 5 {
					panic("too many at once")
				}
				mu.Unlock()
				time.Sleep(20 * time.Millisecond)
				mu.Lock()
				active--
				mu.Unlock()
				turn.End(Outcome{Kind: Good})
			})
		}
		all.Wait()
		require.True(t, slices.IsSortedFunc(begun, time.Time.Compare))
		for i := 20; i < len(begun); i++ {
			require.GreaterOrEqual(t, begun[i].Sub(begun[i-20]), time.Second)
		}
		require.Less(t, begun[299].Sub(begun[0]), 16*time.Second)
	})
}
