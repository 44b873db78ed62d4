package conformance

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/tokens"
)

func TestClaims_areBoughtOnceAndKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{})
		plain := get(ctx0, c, vault).Token
		a := getWithClaims(c, claimsA).Token
		require.False(t, plain.Token == a.Token)
		require.Equal(t, 2, f.Count())
		require.True(t, a.Token == getWithClaims(c, claimsA).Token.Token, "a repeat is a hit")
		require.True(t, a.Token == get(ctx0, c, vault).Token.Token, "the revoked token isn't handed out again")
		require.Equal(t, 2, f.Count())
		b := getWithClaims(c, claimsB).Token
		require.False(t, a.Token == b.Token)
		require.False(t, a.Token == getWithClaims(c, claimsA).Token.Token, "another challenge came in between")
		require.Equal(t, 4, f.Count())
		require.Equal(t, []string{"", claimsA, claimsB, claimsA}, sentClaims(f))
	})
}

func sentClaims(f *fakeEntra) (all []string) {
	for _, form := range f.Forms {
		all = append(all, form.Get("claims"))
	}
	return all
}

func TestClaims_aRefreshThatAsksForNoneEndsThem(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{})
		a := getWithClaims(c, claimsA).Token
		sleepUntil(a.ExpiresOn.Add(-3 * time.Minute))
		get(ctx0, c, vault)
		time.Sleep(time.Second)
		require.False(t, a.Token == get(ctx0, c, vault).Token.Token)
		getWithClaims(c, claimsA)
		require.Equal(t, []string{claimsA, "", claimsA}, sentClaims(f))
	})
}

func TestClaims_oneFlightForOneChallenge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{Script: func(_ int, r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Second) }}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{})
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { require.NoError(t, getWithClaims(c, claimsA).Err) })
		}
		all.Wait()
		require.Equal(t, 1, f.Count())
	})
}

func TestClaims_aFlightThatBeganEarlierNeverOverwritesTheirToken(t *testing.T) {
	for _, row := range []struct {
		name          string
		plain, claims time.Duration // how long the answers take
	}{{"it lands before", time.Second, 2 * time.Second}, {"it lands after", 2 * time.Second, time.Second}} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := &fakeEntra{}
				f.Script = func(n int, r *http.Request) (*http.Response, error) {
					return nil, delayed(r, [...]time.Duration{0, row.plain, row.claims}[n])
				}
				c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{})
				first := get(ctx0, c, vault).Token // the gate is open from here on
				sleepUntil(first.ExpiresOn)
				var all sync.WaitGroup
				var plain, a result
				all.Go(func() { plain = get(ctx0, c, vault) })
				time.Sleep(time.Millisecond)
				all.Go(func() { a = getWithClaims(c, claimsA) })
				all.Wait()
				require.NoError(t, plain.Err)
				require.NoError(t, a.Err)
				require.Equal(t, row.plain, plain.Took)
				require.Equal(t, row.claims, a.Took)
				require.False(t, plain.Token.Token == a.Token.Token)
				require.True(t, a.Token.Token == get(ctx0, c, vault).Token.Token)
				require.True(t, a.Token.Token == getWithClaims(c, claimsA).Token.Token)
				require.Equal(t, []string{"", "", claimsA}, sentClaims(f))
			})
		})
	}
}

func TestClaims_theirRefusalIsNoOneElses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		f.Script = func(n int, r *http.Request) (*http.Response, error) {
			if f.Form(n).Get("claims") == claimsA {
				return respond(r, 400, entraError(70011, "invalid_scope", "x")), nil
			}
			return nil, nil
		}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{})
		for range 2 {
			require.Equal(t, managedid.ReasonInvalidScope, asCredentialError(t, getWithClaims(c, claimsA).Err))
		}
		require.Equal(t, 1, f.Count(), "a definite refusal is replayed for a second")
		require.NoError(t, get(ctx0, c, vault).Err)
		require.NoError(t, getWithClaims(c, claimsB).Err)
		require.Error(t, getWithClaims(c, claimsA).Err)
		require.NoError(t, get(ctx0, c, vault).Err)
	})
}

func TestClaims_refusalsOfSeveralAreReplayedBesideEachOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{Script: answerWith(400, entraError(70011, "invalid_scope", "x"))}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{})
		for range 100 {
			for _, claims := range []string{"", claimsA, claimsB} {
				require.Error(t, getWithClaims(c, claims).Err)
			}
			time.Sleep(time.Millisecond)
		}
		require.Equal(t, 3, f.Count())
	})
}

// A managed identity's endpoint isn't told of claims: one fresh request for all challenges, then one each 30 s at most.
func TestClaims_ofAManagedIdentity(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDS(t, nil)
		get(ctx0, c, vault)
		var all sync.WaitGroup
		for i := range 500 {
			all.Go(func() { require.NoError(t, getWithClaims(c, fmt.Sprintf(`{"n":%d}`, i)).Err) })
		}
		all.Wait()
		require.Len(t, f.Requests(), 2)
		for range 100 {
			require.NoError(t, getWithClaims(c, claimsA).Err)
			require.NoError(t, getWithClaims(c, claimsB).Err)
			time.Sleep(time.Second)
		}
		require.Len(t, f.Requests(), 5)
	})
}

func TestClaims_aPlainRefusalThatAsksForThemDoesNotStandInTheirWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		f.Script = func(n int, r *http.Request) (*http.Response, error) {
			if f.Form(n).Get("claims") == "" {
				return respond(r, 400, entraError(50076, "interaction_required", "x")), nil
			}
			return nil, nil
		}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{})
		require.Error(t, get(ctx0, c, vault).Err)
		require.NoError(t, getWithClaims(c, claimsA).Err)
		require.NoError(t, get(ctx0, c, vault).Err, "with the challenge's token")
	})
}

func TestClaims_callersWhoCannotWaitBuyNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		f.Script = func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 {
				return respond(r, 429, "", "Retry-After", "60"), nil
			}
			return nil, nil
		}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{})
		get(ctx0, c, vault)
		ctx, cancel := context.WithTimeout(ctx0, time.Second)
		defer cancel()
		get(ctx, c, "api://other/.default") // meets the 429
		ended, end := context.WithCancel(ctx0)
		end()
		for i := range 50 {
			claims := policy.TokenRequestOptions{Scopes: []string{vault}, Claims: fmt.Sprintf(`{"n":%d}`, i)}
			_, err := c.GetToken(ended, claims)
			require.ErrorIs(t, err, context.Canceled)
			short, done := context.WithTimeout(ctx0, time.Second)
			_, err = c.GetToken(short, claims)
			done()
			require.Equal(t, managedid.ReasonThrottled, asCredentialError(t, err))
		}
		time.Sleep(2 * time.Minute)
		require.LessOrEqual(t, f.Count(), 3)
	})
}

func TestClaims_theirTokenIsKeptThoughARefreshLandsFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		f.Script = func(n int, r *http.Request) (*http.Response, error) {
			if f.Form(n).Get("claims") != "" {
				return nil, delayed(r, 2*time.Second)
			}
			return nil, nil
		}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{})
		first := get(ctx0, c, vault).Token
		sleepUntil(first.ExpiresOn.Add(-tokens.DefaultRefreshBefore))
		var all sync.WaitGroup
		var a result
		all.Go(func() { a = getWithClaims(c, claimsA) })
		time.Sleep(time.Second)
		get(ctx0, c, vault) // begins the refresh, which lands at once
		all.Wait()
		require.NoError(t, a.Err)
		require.True(t, a.Token.Token == getWithClaims(c, claimsA).Token.Token)
		require.Equal(t, 3, f.Count())
	})
}

// A challenge comes from a server: it must not harm those who share the token that it is about.
func TestClaims_aRefusalOfThemReachesNoPlainCaller(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		f.Script = func(n int, r *http.Request) (*http.Response, error) {
			if err := delayed(r, time.Second); err != nil {
				return nil, err
			}
			if f.Form(n).Get("claims") != "" {
				return respond(r, 400, entraError(50079, "invalid_request", "bad claims")), nil
			}
			return nil, nil
		}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{})
		var all sync.WaitGroup
		all.Go(func() { require.Error(t, getWithClaims(c, claimsA).Err) })
		time.Sleep(time.Millisecond)
		require.NoError(t, get(ctx0, c, vault).Err)
		all.Wait()
	})
}

func TestClaims_badOnesDoNotPutOffTheRefresh(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{})
		first := get(ctx0, c, vault).Token
		sleepUntil(first.ExpiresOn.Add(-tokens.DefaultRefreshBefore))
		for range 3 {
			require.Equal(t, managedid.ReasonConfiguration, asCredentialError(t, getWithClaims(c, "no JSON").Err))
			get(ctx0, c, vault)
			time.Sleep(time.Second)
		}
		require.False(t, first.Token == get(ctx0, c, vault).Token.Token)
		require.Equal(t, 2, f.Count())
	})
}

func TestClaims_twoChallengesTakeTwoRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{Script: func(_ int, r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Second) }}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{})
		var all sync.WaitGroup
		for range 500 {
			for _, claims := range []string{claimsA, claimsB, ""} {
				all.Go(func() { require.NoError(t, getWithClaims(c, claims).Err) })
			}
		}
		all.Wait()
		require.Equal(t, 3, f.Count())
	})
}

func TestClaims_theirTokenServesPlainCallersWhoseFlightFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		f.Script = func(n int, r *http.Request) (*http.Response, error) {
			if n > 0 && f.Form(n).Get("claims") == "" {
				return nil, errRefused
			}
			return nil, nil
		}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{})
		first := get(ctx0, c, vault).Token
		sleepUntil(first.ExpiresOn)
		var all sync.WaitGroup
		var plain, a result
		all.Go(func() { plain = get(ctx0, c, vault) })
		time.Sleep(time.Millisecond)
		all.Go(func() { a = getWithClaims(c, claimsA) })
		all.Wait()
		require.NoError(t, a.Err)
		require.NoError(t, plain.Err)
		require.True(t, plain.Token.Token == a.Token.Token)
	})
}

func TestClaims_aWrongSecretIsRefusedOnceASecondWhateverTheyAre(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{Script: answerWith(401, entraError(7000215, "invalid_client", "x"))}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{})
		for range 100 {
			require.Error(t, get(ctx0, c, vault).Err)
			require.Error(t, getWithClaims(c, claimsA).Err)
		}
		require.Equal(t, 1, f.Count())
	})
}
