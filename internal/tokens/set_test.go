package tokens

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSet_differentSpellingsShareAnEntry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var s Set
		e := s.Entry("r", "r/.default")
		require.Nil(t, s.Hit("r", time.Now()))
		_, err := join(e, &fake{})
		require.NoError(t, err)
		require.Same(t, e, s.Entry("r/.default", "r/.default"))
		require.Same(t, e, s.Entry("r", "r/.default"))
		require.NotSame(t, e, s.Entry("q", "q/.default"))
		require.NotNil(t, s.Hit("r", time.Now()))
		require.Same(t, s.Hit("r", time.Now()), s.Hit("r/.default", time.Now()))
	})
}

func TestSet_whatIsOfNoUseIsSweptAFewAtEachCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var s Set
		const n = 1000
		kept := s.Entry("kept", "kept")
		_, err := join(kept, &fake{fetch: giving(func() Token { return lasting("a", 24*time.Hour) }, 0, nil)})
		require.NoError(t, err)
		flying := s.Entry("flying", "flying")
		_, _, err = flying.Join(time.Now(), &fake{fetch: giving(func() Token { return hour("b") }, time.Minute, nil)})
		require.NoError(t, err)
		var old []*Entry
		for i := range n {
			e := s.Entry(fmt.Sprint(i), fmt.Sprint(i, "/.default"))
			_, err := join(e, failing(errFinal))
			require.Equal(t, errFinal, err)
			old = append(old, e)
		}
		require.Len(t, s.all, n+2, "what repeats a refusal is of use")
		time.Sleep(ReplayTime)
		before := len(s.all)
		s.Entry("new", "new")
		require.GreaterOrEqual(t, len(s.all), before+1-4, "one call pays for a few")
		for i := range n {
			s.Entry(fmt.Sprint("new", i%5), "new")
			s.Entry(fmt.Sprint("newer", i), "newer")
		}
		require.LessOrEqual(t, len(s.all), 10)
		require.Same(t, kept, s.Entry("kept", "kept"))
		require.Same(t, flying, s.Entry("flying", "flying"))
		entries := 0
		s.entries.Range(func(any, any) bool { entries++; return true })
		require.LessOrEqual(t, entries, n+20, "their spellings went with them")
		for _, e := range old {
			_, _, err := e.Join(time.Now(), &fake{})
			require.Equal(t, ErrGone, err)
		}
		synctest.Wait()
	})
}

func TestSet_tokensAreThoseThatAreValid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var s Set
		for i, life := range []time.Duration{time.Minute, time.Hour, 2 * time.Hour} {
			_, err := join(s.Entry(fmt.Sprint(i), fmt.Sprint(i)), &fake{fetch: giving(func() Token { return lasting("t", life) }, 0, nil)})
			require.NoError(t, err)
		}
		s.Entry("none", "none")
		for _, row := range []struct {
			after time.Duration
			want  int
		}{{0, 3}, {time.Minute, 2}, {time.Hour, 1}, {2 * time.Hour, 0}} {
			got := 0
			s.Tokens(time.Now().Add(row.after), func(*Token) { got++ })
			require.Equal(t, row.want, got)
		}
	})
}
