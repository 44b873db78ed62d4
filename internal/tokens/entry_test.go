package tokens

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEntry_refusalsAreRepeatedForASecond(t *testing.T) {
	for _, row := range []struct {
		name     string
		err      error
		of, then string // claims
		repeated bool
	}{
		{"definite", errFinal, "", "", true},
		{"definite, of the same claims", errFinal, "c", "c", true},
		{"definite, and then claims", errFinal, "", "c", false},
		{"definite, of claims", errFinal, "c", "", false},
		{"passing", errPassing, "", "", false},
		{"of the identity", errIdentity, "", "", true},
		{"of the identity, whatever the claims", errIdentity, "c", "d", true},
		{"of the identity, and then none", errIdentity, "c", "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := new(Set).Entry("s", "s")
				first := failing(row.err)
				first.claims = row.of
				_, err := join(e, first)
				require.Equal(t, row.err, err)
				time.Sleep(ReplayTime - 1)
				next := &fake{claims: row.then}
				_, err = join(e, next)
				require.Equal(t, row.repeated, err == row.err)
				require.Equal(t, row.repeated, next.fetched.Load() == 0)
				time.Sleep(2 * time.Nanosecond)
				_, err = join(e, next)
				require.NoError(t, err, "no longer")
			})
		})
	}
}

func TestEntry_aTokenEndsTheRefusals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := new(Set).Entry("s", "s")
		refused := failing(errFinal)
		refused.claims = "c"
		_, err := join(e, refused)
		require.Equal(t, errFinal, err)
		_, err = join(e, &fake{})
		require.NoError(t, err)
		again := &fake{claims: "c"}
		_, err = join(e, again)
		require.NoError(t, err)
		require.EqualValues(t, 1, again.fetched.Load())
	})
}

// A refusal stands in nobody's way who has a token.
func TestEntry_aRefusedRefreshLeavesTheTokenInUse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := (&Set{RefreshBefore: DefaultRefreshBefore}).Entry("s", "s")
		first, err := join(e, &fake{})
		require.NoError(t, err)
		time.Sleep(56 * time.Minute)
		_, _, _ = e.Join(time.Now(), failing(errIdentity))
		synctest.Wait()
		got, _, err := e.Join(time.Now(), &fake{})
		require.NoError(t, err)
		require.Equal(t, first.Token, got.Token)
	})
}

func TestEntry_theSameChallengeIsAnsweredForHalfAMinute(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := new(Set).Entry("s", "s")
		a := &fake{claims: "c", fetch: giving(func() Token { return hour("a") }, time.Second, nil)}
		_, err := join(e, a)
		require.NoError(t, err)
		time.Sleep(MinPause - time.Second - 1) // since it was asked for
		got, f, err := e.Join(time.Now(), a)
		require.NoError(t, err)
		require.Nil(t, f)
		require.Equal(t, "a", got.Token)
		require.NotNil(t, e.Usable(time.Now(), a))
		require.Nil(t, e.Usable(time.Now(), &fake{claims: "d"}), "another isn't answered by it")
		time.Sleep(time.Nanosecond)
		require.Nil(t, e.Usable(time.Now(), a))
		require.NotNil(t, e.Usable(time.Now(), &fake{}), "who meets no challenge goes on with it")
		got, f, err = e.Join(time.Now(), a)
		require.NoError(t, err)
		require.Nil(t, got)
		require.NotNil(t, f)
		<-f.Done()
	})
}

func TestEntry_joinByFreshness(t *testing.T) {
	for _, row := range []struct {
		name         string
		after        time.Duration
		token, waits bool
		flights      int32
	}{
		{"fresh", 54 * time.Minute, true, false, 0},
		{"due", 56 * time.Minute, true, false, 1},
		{"urgent", 59 * time.Minute, true, true, 1},
		{"expired", time.Hour, false, true, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := (&Set{RefreshBefore: DefaultRefreshBefore}).Entry("s", "s")
				_, err := join(e, &fake{})
				require.NoError(t, err)
				time.Sleep(row.after)
				r := &fake{}
				got, f, err := e.Join(time.Now(), r)
				require.NoError(t, err)
				require.Equal(t, row.token, got != nil)
				require.Equal(t, row.waits, f != nil)
				synctest.Wait()
				require.Equal(t, row.flights, r.fetched.Load())
			})
		})
	}
}
