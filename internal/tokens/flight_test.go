package tokens

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// join joins an entry, and waits for the flight if there is one.
func join(e *Entry, r Request) (*Token, error) {
	t, f, err := e.Join(time.Now(), r)
	if f == nil {
		return t, err
	}
	<-f.Done()
	return f.Result()
}

func TestFlight_oneForAllWhoCome(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, r := new(Set).Entry("s", "s"), &fake{fetch: giving(func() Token { return hour("a") }, time.Second, nil)}
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				got, err := join(e, r)
				require.NoError(t, err)
				require.Equal(t, "a", got.Token)
			})
		}
		all.Wait()
		synctest.Wait()
		require.EqualValues(t, 1, r.fetched.Load())
		require.EqualValues(t, 1, r.counted.Load())
		require.EqualValues(t, 1, r.landed.Load())
		require.Equal(t, time.Second, r.landing.Load().Took)
		require.Nil(t, e.Underway(r))
		got, f, err := e.Join(time.Now(), r)
		require.Equal(t, "a", got.Token)
		require.Nil(t, f)
		require.NoError(t, err)
	})
}

func TestFlight_thatCrashesLandsWithAnError(t *testing.T) {
	for name, row := range map[string]struct {
		how  func()
		with any
	}{"panic": {func() { panic("v") }, "v"}, "Goexit": {runtime.Goexit, nil}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := new(Set).Entry("s", "s")
				r := &fake{fetch: func(context.Context, *Flight) (Token, error) { row.how(); return Token{}, nil }}
				_, err := join(e, r)
				require.Equal(t, errCrashed, err)
				require.Equal(t, row.with, r.crashedWith)
				synctest.Wait()
				require.EqualValues(t, 1, r.landed.Load())
				got, err := join(e, &fake{})
				require.NoError(t, err, "the next one works")
				require.Equal(t, "fetched", got.Token)
			})
		})
	}
}

func TestFlight_whoseFetchIgnoresItsContextLandsAtItsLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, release := new(Set).Entry("s", "s"), make(chan struct{})
		r := &fake{fetch: func(context.Context, *Flight) (Token, error) { <-release; return hour("late"), nil }}
		began := time.Now()
		_, err := join(e, r)
		require.Equal(t, errOverdue, err)
		require.Equal(t, FlightLimit, time.Since(began))
		got, err := join(e, &fake{})
		require.NoError(t, err)
		close(release)
		synctest.Wait()
		require.Same(t, got, e.current.Load(), "what comes late changes nothing")
		require.EqualValues(t, 1, r.counted.Load())
		require.EqualValues(t, 1, r.landed.Load())
	})
}

func TestFlight_thatIsCancelledLandsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := new(Set).Entry("s", "s")
		r := &fake{fetch: giving(func() Token { return hour("a") }, time.Minute, nil)}
		_, f, err := e.Join(time.Now(), r)
		require.NoError(t, err)
		f.Cancel()
		synctest.Wait()
		<-f.Done()
		_, err = f.Result()
		require.Error(t, err)
		require.Nil(t, e.Underway(r))
		require.Zero(t, time.Since(f.Began))
	})
}

func TestFlight_contextEndsWithIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var ctx context.Context
		r := &fake{fetch: func(c context.Context, _ *Flight) (Token, error) { ctx = c; return hour("a"), nil }}
		_, err := join(new(Set).Entry("s", "s"), r)
		require.NoError(t, err)
		synctest.Wait()
		require.Error(t, ctx.Err())
	})
}

// Flights with claims and without may land in any order. A token is never overwritten by one that was asked for
// before it.
func TestFlight_landingInAnyOrder(t *testing.T) {
	for _, row := range []struct {
		name                 string
		first, second        string // claims
		firstTakes, secondIn time.Duration
		want                 string
	}{
		{"in order", "", "c", 1, 2, "second"},
		{"the plain one, begun first, lands last", "", "c", 2, 1, "second"},
		{"the challenge, begun first, lands last", "c", "", 2, 1, "first"},
		{"the challenge, begun first, lands first", "c", "", 1, 2, "second"},
		{"an older challenge lands last", "c", "d", 2, 1, "second"},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := new(Set).Entry("s", "s")
				begin := func(claims, name string, takes time.Duration) *Flight {
					_, f, err := e.Join(time.Now(), &fake{claims: claims, fetch: giving(func() Token { return hour(name) }, takes*time.Second, nil)})
					require.NoError(t, err)
					return f
				}
				a, b := begin(row.first, "first", row.firstTakes), begin(row.second, "second", row.secondIn)
				require.NotSame(t, a, b)
				<-a.Done()
				<-b.Done()
				require.Equal(t, row.want, e.current.Load().Token)
				for f, want := range map[*Flight]string{a: "first", b: "second"} {
					got, err := f.Result()
					require.NoError(t, err)
					require.Equal(t, want, got.Token, "who waits gets what was asked for")
				}
			})
		})
	}
}

func TestFlight_aFailedRefreshPutsTheNextOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := (&Set{RefreshBefore: DefaultRefreshBefore}).Entry("s", "s")
		first, err := join(e, &fake{})
		require.NoError(t, err)
		time.Sleep(56 * time.Minute)
		fails := failing(errPassing)
		got, f, err := e.Join(time.Now(), fails)
		require.NoError(t, err)
		require.Same(t, first, got)
		require.Nil(t, f, "nobody waits for it")
		synctest.Wait()
		require.EqualValues(t, 1, fails.fetched.Load())
		require.Equal(t, 4*time.Minute, fails.landing.Load().Left)
		require.Equal(t, Fresh, e.current.Load().Freshness(time.Now()))
		time.Sleep(29 * time.Second)
		_, _, _ = e.Join(time.Now(), fails)
		synctest.Wait()
		require.EqualValues(t, 1, fails.fetched.Load())
		time.Sleep(2 * time.Second)
		_, _, _ = e.Join(time.Now(), fails)
		synctest.Wait()
		require.EqualValues(t, 2, fails.fetched.Load())
	})
}

func TestFlight_knowsTheTokenThatAChallengeFound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := new(Set).Entry("s", "s")
		_, err := join(e, &fake{})
		require.NoError(t, err)
		var challenged string
		var refreshes *Token
		_, err = join(e, &fake{claims: "c", fetch: func(_ context.Context, f *Flight) (Token, error) {
			challenged, refreshes = f.Challenged, f.Refreshes
			return hour("b"), nil
		}})
		require.NoError(t, err)
		require.Equal(t, "fetched", challenged)
		require.Nil(t, refreshes, "its callers have none meanwhile")
	})
}
