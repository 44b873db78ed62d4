package managedid

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/tokens"
)

func getWithClaims(c azcore.TokenCredential, claims string) result {
	began := time.Now()
	t, err := c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: []string{vault}, Claims: claims})
	return result{t, err, time.Since(began)}
}

const claimsA, claimsB = `{"access_token":{"a":null}}`, `{"access_token":{"b":null}}`

func TestClaims_areBoughtOnceAndKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
		plain := get(ctx0, c, vault).token
		a := getWithClaims(c, claimsA).token
		require.False(t, plain.Token == a.Token)
		require.Equal(t, 2, f.count())
		require.True(t, a.Token == getWithClaims(c, claimsA).token.Token, "a repeat is a hit")
		require.True(t, a.Token == get(ctx0, c, vault).token.Token, "the revoked token isn't handed out again")
		require.Equal(t, 2, f.count())
		b := getWithClaims(c, claimsB).token
		require.False(t, a.Token == b.Token)
		require.False(t, a.Token == getWithClaims(c, claimsA).token.Token, "another challenge came in between")
		require.Equal(t, 4, f.count())
		require.Equal(t, []string{"", claimsA, claimsB, claimsA}, sentClaims(f))
	})
}

func sentClaims(f *fakeEntra) (all []string) {
	for _, form := range f.forms {
		all = append(all, form.Get("claims"))
	}
	return all
}

func TestClaims_aRefreshThatAsksForNoneEndsThem(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
		a := getWithClaims(c, claimsA).token
		sleepUntil(a.ExpiresOn.Add(-3 * time.Minute))
		get(ctx0, c, vault)
		time.Sleep(time.Second)
		require.False(t, a.Token == get(ctx0, c, vault).token.Token)
		getWithClaims(c, claimsA)
		require.Equal(t, []string{claimsA, "", claimsA}, sentClaims(f))
	})
}

func TestClaims_oneFlightForOneChallenge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{script: func(_ int, r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Second) }}
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { require.NoError(t, getWithClaims(c, claimsA).err) })
		}
		all.Wait()
		require.Equal(t, 1, f.count())
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
				f.script = func(n int, r *http.Request) (*http.Response, error) {
					return nil, delayed(r, [...]time.Duration{0, row.plain, row.claims}[n])
				}
				c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
				first := get(ctx0, c, vault).token // the gate is open from here on
				sleepUntil(first.ExpiresOn)
				var all sync.WaitGroup
				var plain, a result
				all.Go(func() { plain = get(ctx0, c, vault) })
				time.Sleep(time.Millisecond)
				all.Go(func() { a = getWithClaims(c, claimsA) })
				all.Wait()
				require.NoError(t, plain.err)
				require.NoError(t, a.err)
				require.Equal(t, row.plain, plain.took)
				require.Equal(t, row.claims, a.took)
				require.False(t, plain.token.Token == a.token.Token)
				require.True(t, a.token.Token == get(ctx0, c, vault).token.Token)
				require.True(t, a.token.Token == getWithClaims(c, claimsA).token.Token)
				require.Equal(t, []string{"", "", claimsA}, sentClaims(f))
			})
		})
	}
}

func TestClaims_theirRefusalIsNoOneElses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		f.script = func(n int, r *http.Request) (*http.Response, error) {
			if f.form(n).Get("claims") == claimsA {
				return respond(r, 400, entraError(70011, "invalid_scope", "x")), nil
			}
			return nil, nil
		}
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
		for range 2 {
			require.Equal(t, ReasonInvalidScope, asCredentialError(t, getWithClaims(c, claimsA).err))
		}
		require.Equal(t, 1, f.count(), "a definite refusal is replayed for a second")
		require.NoError(t, get(ctx0, c, vault).err)
		require.NoError(t, getWithClaims(c, claimsB).err)
		require.Error(t, getWithClaims(c, claimsA).err)
		require.NoError(t, get(ctx0, c, vault).err)
	})
}

func TestClaims_refusalsOfSeveralAreReplayedBesideEachOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{script: answerWith(400, entraError(70011, "invalid_scope", "x"))}
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
		for range 100 {
			for _, claims := range []string{"", claimsA, claimsB} {
				require.Error(t, getWithClaims(c, claims).err)
			}
			time.Sleep(time.Millisecond)
		}
		require.Equal(t, 3, f.count())
	})
}

// A managed identity's endpoint isn't told of claims: one fresh request for all challenges, then one each 30 s at most.
func TestClaims_ofAManagedIdentity(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDS(t, nil)
		get(ctx0, c, vault)
		var all sync.WaitGroup
		for i := range 500 {
			all.Go(func() { require.NoError(t, getWithClaims(c, fmt.Sprintf(`{"n":%d}`, i)).err) })
		}
		all.Wait()
		require.Len(t, f.requests(), 2)
		for range 100 {
			require.NoError(t, getWithClaims(c, claimsA).err)
			require.NoError(t, getWithClaims(c, claimsB).err)
			time.Sleep(time.Second)
		}
		require.Len(t, f.requests(), 5)
	})
}

func TestClaims_aPlainRefusalThatAsksForThemDoesNotStandInTheirWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		f.script = func(n int, r *http.Request) (*http.Response, error) {
			if f.form(n).Get("claims") == "" {
				return respond(r, 400, entraError(50076, "interaction_required", "x")), nil
			}
			return nil, nil
		}
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
		require.Error(t, get(ctx0, c, vault).err)
		require.NoError(t, getWithClaims(c, claimsA).err)
		require.NoError(t, get(ctx0, c, vault).err, "with the challenge's token")
	})
}

func TestClaims_callersWhoCannotWaitBuyNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		f.script = func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 {
				return respond(r, 429, "", "Retry-After", "60"), nil
			}
			return nil, nil
		}
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
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
			require.Equal(t, ReasonThrottled, asCredentialError(t, err))
		}
		time.Sleep(2 * time.Minute)
		require.LessOrEqual(t, f.count(), 3)
	})
}

func TestClaims_theirTokenIsKeptThoughARefreshLandsFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		f.script = func(n int, r *http.Request) (*http.Response, error) {
			if f.form(n).Get("claims") != "" {
				return nil, delayed(r, 2*time.Second)
			}
			return nil, nil
		}
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
		first := get(ctx0, c, vault).token
		sleepUntil(first.ExpiresOn.Add(-tokens.DefaultRefreshBefore))
		var all sync.WaitGroup
		var a result
		all.Go(func() { a = getWithClaims(c, claimsA) })
		time.Sleep(time.Second)
		get(ctx0, c, vault) // begins the refresh, which lands at once
		all.Wait()
		require.NoError(t, a.err)
		require.True(t, a.token.Token == getWithClaims(c, claimsA).token.Token)
		require.Equal(t, 3, f.count())
	})
}

// A challenge comes from a server: it must not harm those who share the token that it is about.
func TestClaims_aRefusalOfThemReachesNoPlainCaller(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		f.script = func(n int, r *http.Request) (*http.Response, error) {
			if err := delayed(r, time.Second); err != nil {
				return nil, err
			}
			if f.form(n).Get("claims") != "" {
				return respond(r, 400, entraError(50079, "invalid_request", "bad claims")), nil
			}
			return nil, nil
		}
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
		var all sync.WaitGroup
		all.Go(func() { require.Error(t, getWithClaims(c, claimsA).err) })
		time.Sleep(time.Millisecond)
		require.NoError(t, get(ctx0, c, vault).err)
		all.Wait()
	})
}

func TestClaims_badOnesDoNotPutOffTheRefresh(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
		first := get(ctx0, c, vault).token
		sleepUntil(first.ExpiresOn.Add(-tokens.DefaultRefreshBefore))
		for range 3 {
			require.Equal(t, ReasonConfiguration, asCredentialError(t, getWithClaims(c, "no JSON").err))
			get(ctx0, c, vault)
			time.Sleep(time.Second)
		}
		require.False(t, first.Token == get(ctx0, c, vault).token.Token)
		require.Equal(t, 2, f.count())
	})
}

func TestClaims_twoChallengesTakeTwoRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{script: func(_ int, r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Second) }}
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
		var all sync.WaitGroup
		for range 500 {
			for _, claims := range []string{claimsA, claimsB, ""} {
				all.Go(func() { require.NoError(t, getWithClaims(c, claims).err) })
			}
		}
		all.Wait()
		require.Equal(t, 3, f.count())
	})
}

func TestClaims_theirTokenServesPlainCallersWhoseFlightFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{}
		f.script = func(n int, r *http.Request) (*http.Response, error) {
			if n > 0 && f.form(n).Get("claims") == "" {
				return nil, errRefused
			}
			return nil, nil
		}
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
		first := get(ctx0, c, vault).token
		sleepUntil(first.ExpiresOn)
		var all sync.WaitGroup
		var plain, a result
		all.Go(func() { plain = get(ctx0, c, vault) })
		time.Sleep(time.Millisecond)
		all.Go(func() { a = getWithClaims(c, claimsA) })
		all.Wait()
		require.NoError(t, a.err)
		require.NoError(t, plain.err)
		require.True(t, plain.token.Token == a.token.Token)
	})
}

func TestClaims_aWrongSecretIsRefusedOnceASecondWhateverTheyAre(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{script: answerWith(401, entraError(7000215, "invalid_client", "x"))}
		c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
		for range 100 {
			require.Error(t, get(ctx0, c, vault).err)
			require.Error(t, getWithClaims(c, claimsA).err)
		}
		require.Equal(t, 1, f.count())
	})
}
