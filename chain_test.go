package managedid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"
)

// answering is a foreign link that counts its calls.
func answering(calls *atomic.Int32, token string, err error) foreign {
	return func(context.Context) (string, error) {
		calls.Add(1)
		return token, err
	}
}

var (
	errNotHere = NewCredentialUnavailableError("not here")
	errHard    = errors.New("refused")
	errOurs    = &AuthenticationFailedError{Reason: ReasonRejectedCredential, message: "ours"}
)

func chainOf(t testing.TB, o *ChainedTokenCredentialOptions, links ...azcore.TokenCredential) *ChainedTokenCredential {
	t.Helper()
	c, err := NewChainedTokenCredential(links, o)
	require.NoError(t, err)
	return c
}

func TestNewChainedTokenCredential_refusesWhatCannotBeAsked(t *testing.T) {
	good := foreign(func(context.Context) (string, error) { return "t", nil })
	const none, hasNil = "ChainedTokenCredential: sources must contain at least one credential", "ChainedTokenCredential: sources must not contain nil"
	for _, row := range []struct {
		name    string
		sources []azcore.TokenCredential
		want    string
	}{
		{"no slice", nil, none},
		{"no sources", []azcore.TokenCredential{}, none},
		{"nil", []azcore.TokenCredential{good, nil}, hasNil},
		{"typed nil", []azcore.TokenCredential{good, (*ManagedIdentityCredential)(nil)}, hasNil},
	} {
		c, err := NewChainedTokenCredential(row.sources, nil)
		requireError(t, err, row.want, row.name)
		require.Nil(t, c, row.name)
	}
}

func TestChain_asksInOrderAndGoesOnOnlyWhereALinkIsUnavailable(t *testing.T) {
	theirs := errors.New("theirs: not configured")
	wrapped := fmt.Errorf("a wrapper: %w", errNotHere)
	custom := &ChainedTokenCredentialOptions{IsUnavailable: func(err error) bool { return errors.Is(err, theirs) }}
	for _, row := range []struct {
		name    string
		options *ChainedTokenCredentialOptions
		links   []error // nil gives a token
		asked   []int32
		want    error
	}{
		{"the first has a token", nil, []error{nil, nil}, []int32{1, 0}, nil},
		{"the first is unavailable", nil, []error{errNotHere, nil, nil}, []int32{1, 1, 0}, nil},
		{"the first wraps unavailable", nil, []error{wrapped, nil}, []int32{1, 1}, nil},
		{"all but the last are unavailable", nil, []error{errNotHere, errNotHere, nil}, []int32{1, 1, 1}, nil},
		{"the first is refused", nil, []error{errHard, nil}, []int32{1, 0}, errHard},
		{"the second is refused", nil, []error{errNotHere, errHard, nil}, []int32{1, 1, 0}, errHard},
		{"the last is refused", nil, []error{errNotHere, errHard}, []int32{1, 1}, errHard},
		{"the first failed in our own type", nil, []error{errOurs, nil}, []int32{1, 0}, errOurs},
		{"another package's unavailable, unknown", nil, []error{theirs, nil}, []int32{1, 0}, theirs},
		{"another package's unavailable, known", custom, []error{theirs, nil}, []int32{1, 1}, nil},
		{"our unavailable besides", custom, []error{errNotHere, theirs, nil}, []int32{1, 1, 1}, nil},
		{"refused, with IsUnavailable", custom, []error{errHard, nil}, []int32{1, 0}, errHard},
		{"RetrySources", &ChainedTokenCredentialOptions{RetrySources: true}, []error{errNotHere, nil}, []int32{1, 1}, nil},
		{"RetrySources, refused", &ChainedTokenCredentialOptions{RetrySources: true}, []error{errHard, nil}, []int32{1, 0}, errHard},
	} {
		t.Run(row.name, func(t *testing.T) {
			calls := make([]atomic.Int32, len(row.links))
			links := []azcore.TokenCredential{}
			for i, err := range row.links {
				links = append(links, answering(&calls[i], fmt.Sprint(i), err))
			}
			got := get(t.Context(), chainOf(t, row.options, links...), vault)
			asked := []int32{}
			for i := range calls {
				asked = append(asked, calls[i].Load())
			}
			require.Equal(t, row.asked, asked)
			if row.want != nil {
				require.Equal(t, row.want, got.Err, "alone and as it is")
				return
			}
			require.NoError(t, got.Err)
			require.Equal(t, fmt.Sprint(slices.Index(row.links, nil)), got.Token.Token)
		})
	}
}

func TestChain_staysWithTheFirstLinkThatGaveAToken(t *testing.T) {
	var first, second atomic.Int32
	chain := chainOf(t, nil, foreign(func(context.Context) (string, error) {
		if first.Add(1) == 1 {
			return "", errNotHere
		}
		return "first", nil
	}), answering(&second, "second", nil))
	for range 3 {
		require.Equal(t, "second", get(t.Context(), chain, vault).Token.Token)
	}
	require.EqualValues(t, 1, first.Load())
	require.EqualValues(t, 3, second.Load())
}

func TestChain_withRetrySourcesAsksAllAgain(t *testing.T) {
	var first, second atomic.Int32
	chain := chainOf(t, &ChainedTokenCredentialOptions{RetrySources: true}, answering(&first, "", errNotHere), answering(&second, "t", nil))
	for n := range int32(3) {
		require.NoError(t, get(t.Context(), chain, vault).Err)
		require.Equal(t, []int32{n + 1, n + 1}, []int32{first.Load(), second.Load()})
	}
}

func TestChain_remembersTheWinnerAndNothingElse(t *testing.T) {
	var calls atomic.Int32
	var trouble error = errNotHere
	chain := chainOf(t, nil, foreign(func(context.Context) (string, error) { return "t", trouble }), answering(&calls, "", errHard))
	require.Equal(t, errHard, get(t.Context(), chain, vault).Err)
	trouble = nil
	require.NoError(t, get(t.Context(), chain, vault).Err)
	trouble = errNotHere
	require.Equal(t, errNotHere, get(t.Context(), chain, vault).Err, "a winner's failure is the chain's")
	require.EqualValues(t, 1, calls.Load())
}

func TestChain_errorWhereAllAreUnavailable(t *testing.T) {
	inner := chainOf(t, nil, answering(new(atomic.Int32), "", NewCredentialUnavailableError("inner\nin two lines")))
	chain := chainOf(t, nil, answering(new(atomic.Int32), "", errNotHere), inner, answering(new(atomic.Int32), "", fmt.Errorf("third: %w", errNotHere)))
	err := get(t.Context(), chain, vault).Err
	requireError(t, err, "ChainedTokenCredential: no credential is available: not here; "+
		"ChainedTokenCredential: no credential is available: inner in two lines; third: not here")
	require.Equal(t, ReasonAbsent, asCredentialError(t, err))
	all := err.(*CredentialUnavailableError)
	require.Len(t, all.Links, 3)
	require.Equal(t, errNotHere, all.Links[0])
	require.Len(t, all.Links[1].(*CredentialUnavailableError).Links, 1)
}

func TestChain_nestedGoesOnStopsAndStays(t *testing.T) {
	var calls atomic.Int32
	hard := chainOf(t, nil, answering(new(atomic.Int32), "", errNotHere), answering(new(atomic.Int32), "", errHard))
	outer := chainOf(t, nil, hard, answering(&calls, "t", nil))
	require.Equal(t, errHard, get(t.Context(), outer, vault).Err)
	require.Zero(t, calls.Load())
	absent := chainOf(t, nil, answering(new(atomic.Int32), "", errNotHere))
	outer = chainOf(t, nil, absent, chainOf(t, nil, answering(&calls, "t", nil)))
	for range 2 {
		require.Equal(t, "t", get(t.Context(), outer, vault).Token.Token)
	}
	require.EqualValues(t, 2, calls.Load())
}

func TestChain_neverGoesOnAfterTheCallersContextEnded(t *testing.T) {
	for _, row := range []struct {
		name  string
		links foreign
		want  string
	}{
		{"unavailable", func(context.Context) (string, error) { return "", errNotHere }, "ChainedTokenCredential: the caller's context ended: context canceled"},
		{"refused in two lines", func(context.Context) (string, error) { return "", errors.New("refused\nfor long") },
			"ChainedTokenCredential: the caller's context ended: context canceled"},
		{"the context's own error", func(ctx context.Context) (string, error) { return "", ctx.Err() }, "context canceled"},
	} {
		for _, retry := range []bool{false, true} {
			var calls atomic.Int32
			ctx, cancel := context.WithCancel(t.Context())
			first := foreign(func(ctx context.Context) (string, error) {
				cancel()
				return row.links(ctx)
			})
			options := &ChainedTokenCredentialOptions{RetrySources: retry, IsUnavailable: func(error) bool { return true }}
			err := get(ctx, chainOf(t, options, first, answering(&calls, "t", nil)), vault).Err
			requireError(t, err, row.want, row.name)
			require.ErrorIs(t, err, context.Canceled, row.name)
			require.Zero(t, calls.Load(), row.name)
		}
	}
}

func TestChain_asksAForeignLinkByOneGoroutineUntilItHasAWinner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		slow := foreign(func(context.Context) (string, error) {
			n := calls.Add(1)
			time.Sleep(time.Second)
			if n <= 3 {
				return "", errNotHere
			}
			return "t", nil
		})
		took := map[time.Duration]int{}
		for _, r := range getAll(t.Context(), chainOf(t, nil, slow), slices.Repeat([]string{vault}, 20)...) {
			require.Equal(t, r.Took <= 3*time.Second, r.Err != nil)
			took[r.Took/time.Second]++
		}
		require.Equal(t, map[time.Duration]int{1: 1, 2: 1, 3: 1, 4: 1, 5: 16}, took, "a winner is asked by all at once")
		require.EqualValues(t, 20, calls.Load())
	})
}

func TestChain_allCallersStayWithTheWinnerThatOneFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first, second atomic.Int32
		chain := chainOf(t, nil, foreign(func(context.Context) (string, error) {
			time.Sleep(time.Second)
			if first.Add(1) == 1 {
				return "", errNotHere
			}
			return "first", nil
		}), answering(&second, "second", nil))
		for _, r := range getAll(t.Context(), chain, slices.Repeat([]string{vault}, 20)...) {
			require.Equal(t, "second", r.Token.Token)
		}
	})
}

func TestChain_aCallerPastTheWinnerGoesBackToIt(t *testing.T) {
	appServiceEnvironment(t)
	var first int
	var second []*http.Request
	o := noRetries
	o.Transport = transportFunc(func(r *http.Request) (*http.Response, error) {
		if first++; first == 1 {
			return imdsStatus(r, 500), nil
		}
		return imdsToken(r, time.Hour), nil
	})
	var chain *ChainedTokenCredential
	chain = chainOf(t, &ChainedTokenCredentialOptions{IsUnavailable: func(error) bool {
		return get(context.Background(), chain, vault).Err == nil // another caller, for whom the first link is there
	}}, credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: o}), credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: record(&second)}))
	require.NoError(t, get(t.Context(), chain, vault).Err)
	require.Equal(t, 2, first)
	require.Empty(t, second)
}

func TestChain_waitersForAForeignLinkLeaveWithTheirContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		chain := chainOf(t, nil, foreign(func(context.Context) (string, error) {
			calls.Add(1)
			time.Sleep(time.Hour)
			return "t", nil
		}))
		first := make(chan result, 1)
		go func() { first <- get(t.Context(), chain, vault) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := get(ctx, chain, vault)
		require.ErrorIs(t, r.Err, context.DeadlineExceeded)
		requireError(t, r.Err, "ChainedTokenCredential: the caller's context ended: context deadline exceeded")
		asCredentialError(t, r.Err)
		require.Equal(t, time.Second, r.Took)
		require.NoError(t, (<-first).Err)
		require.EqualValues(t, 1, calls.Load())
	})
}

func TestChain_writesNothingToItsSources(t *testing.T) {
	blankEnvironment(t)
	var requests []*http.Request
	own := credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: record(&requests)})
	before := *own
	sources := []azcore.TokenCredential{own, answering(new(atomic.Int32), "t", nil)}
	chain := chainOf(t, nil, sources...)
	sources[0] = nil // the chain has a slice of its own
	require.NoError(t, get(t.Context(), chain, vault).Err)
	require.True(t, before == *own)
	require.NoError(t, get(t.Context(), own, vault).Err)
	require.Len(t, requests, 1, "the link has the credential's tokens")
}
