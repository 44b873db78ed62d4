package managedid

import (
	"context"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/tokens"
)

func refused(*http.Request) error { return errRefused }

// newWire returns a credential over a wire, and a chain in which another link follows it.
func newWire(t *testing.T, w wire, o ManagedIdentityCredentialOptions) (*fakeIMDS, *ManagedIdentityCredential, *ChainedTokenCredential) {
	w.FakeIMDS.Began = time.Now()
	o.Transport = &http.Client{Transport: w}
	alone, err := NewManagedIdentityCredential(&o)
	require.NoError(t, err)
	alone.gate.ShowConnections(true) // the wire shows its connections as an *http.Transport does
	chain, err := NewChainedTokenCredential([]azcore.TokenCredential{alone, other{}}, &ChainedTokenCredentialOptions{RetrySources: true})
	require.NoError(t, err)
	return w.FakeIMDS, alone, chain
}

func TestPresence_inAChain(t *testing.T) {
	silent := func(n int, r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Hour) }
	for _, row := range []struct {
		name    string
		connect func(*http.Request) error
		script  script
		took    time.Duration
		found   bool
	}{
		{"refused", refused, nil, 0, false},
		{"packets vanish", func(r *http.Request) error { return delayed(r, time.Hour) }, nil, 3 * time.Second, false},
		{"connected late", func(r *http.Request) error { return delayed(r, 2900*time.Millisecond) }, nil, 2900 * time.Millisecond, true},
		{"connected, then silent", func(r *http.Request) error { return delayed(r, 2*time.Second) }, silent, 12 * time.Second, false},
		{"connected, then slow", func(r *http.Request) error { return nil },
			func(n int, r *http.Request) (*http.Response, error) { return nil, delayed(r, 9900*time.Millisecond) }, 9900 * time.Millisecond, true},
		{"reset", func(r *http.Request) error { return nil }, func(n int, r *http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
		}, 0, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				blankEnvironment(t)
				f, _, chain := newWire(t, wire{FakeIMDS: &fakeIMDS{Script: row.script}, Connect: row.connect}, ManagedIdentityCredentialOptions{})
				for _, r := range getAll(ctx0, chain, vault, vault) {
					require.NoError(t, r.Err)
					require.Equal(t, row.found, r.Token.Token == secretToken)
					require.Equal(t, row.took, r.Took)
				}
				if row.found {
					return
				}
				synctest.Wait()
				sent := len(f.Requests())
				time.Sleep(4 * time.Second)
				require.Zero(t, get(ctx0, chain, vault).Took) // remembered
				require.Len(t, f.Requests(), sent)
				time.Sleep(2 * time.Second)
				require.Equal(t, row.took, get(ctx0, chain, vault).Took) // forgotten
			})
		})
	}
}

func TestPresence_aloneIsPatientWithinTheCallersDeadline(t *testing.T) {
	booted := func(after time.Duration) func(*http.Request) error {
		began := time.Now()
		return func(r *http.Request) error {
			if time.Since(began) < after {
				return errRefused
			}
			return nil
		}
	}
	for _, row := range []struct {
		name    string
		options ManagedIdentityCredentialOptions
		env     map[string]string
		chain   bool
	}{
		{"outside a chain", ManagedIdentityCredentialOptions{}, nil, false},
		{"in a chain, Source set", ManagedIdentityCredentialOptions{Source: SourceIMDS}, nil, true},
		{"in a chain, announced by the host", ManagedIdentityCredentialOptions{},
			map[string]string{"IDENTITY_ENDPOINT": "http://localhost:42356/msi/token", "IDENTITY_HEADER": "s"}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				blankEnvironment(t)
				for k, v := range row.env {
					t.Setenv(k, v)
				}
				_, alone, chain := newWire(t, wire{FakeIMDS: &fakeIMDS{}, Connect: booted(15 * time.Second)}, row.options)
				var c azcore.TokenCredential = alone
				if row.chain {
					c = chain
				}
				ctx, cancel := context.WithTimeout(ctx0, 10*time.Second)
				defer cancel()
				r := get(ctx, c, vault)
				require.ErrorIs(t, r.Err, context.DeadlineExceeded)
				require.Contains(t, r.Err.Error(), "connection refused")
				require.Equal(t, 10*time.Second, r.Took)
				r = get(ctx0, c, vault)
				require.NoError(t, r.Err)
				require.Equal(t, secretToken, r.Token.Token)
			})
		})
	}
}

func TestPresence_aloneOnVanishingPacketsLeavesWithTheCallersDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		blankEnvironment(t)
		_, alone, _ := newWire(t, wire{FakeIMDS: &fakeIMDS{}, Connect: func(r *http.Request) error { return delayed(r, time.Hour) }}, ManagedIdentityCredentialOptions{})
		for _, limit := range []time.Duration{time.Second, 20 * time.Second} {
			ctx, cancel := context.WithTimeout(ctx0, limit)
			r := get(ctx, alone, vault)
			cancel()
			require.ErrorIs(t, r.Err, context.DeadlineExceeded)
			require.Equal(t, limit, r.Took)
		}
		r := get(ctx0, alone, vault) // in the end the flight's own limit
		require.Equal(t, ReasonAbsent, asCredentialError(t, r.Err))
		require.Equal(t, tokens.FlightLimit-21*time.Second, r.Took)
	})
}

func TestPresence_selectedAloneByTheEnvironmentIsPatient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		blankEnvironment(t)
		t.Setenv(selectorVariable, nameManagedIdentity)
		w := wire{FakeIMDS: &fakeIMDS{Began: time.Now()}, Connect: nil}
		w.Connect = func(*http.Request) error {
			if time.Since(w.Began) < 20*time.Second {
				return errRefused
			}
			return nil
		}
		c, err := NewDefaultAzureCredential(&DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: &http.Client{Transport: w}}})
		require.NoError(t, err)
		require.NoError(t, get(ctx0, c, vault).Err)
	})
}

func TestPresence_aloneGivesUpInTheEndWithUnavailableOrNotReady(t *testing.T) {
	bubble(t, func(t *testing.T) {
		blankEnvironment(t)
		f, alone, _ := newWire(t, wire{FakeIMDS: &fakeIMDS{}, Connect: refused}, ManagedIdentityCredentialOptions{})
		r := get(ctx0, alone, vault)
		require.Equal(t, ReasonAbsent, asCredentialError(t, r.Err))
		_, ok := asType[*CredentialUnavailableError](r.Err)
		require.True(t, ok)
		requireGaveUp(t, r.Err, "ManagedIdentityCredential: IMDS: not found at 169.254.169.254: dial: connection refused")
		require.Len(t, f.Requests(), 7)

		_, alone, _ = newWire(t, wire{FakeIMDS: &fakeIMDS{}, Connect: refused}, ManagedIdentityCredentialOptions{Source: SourceIMDS})
		r = get(ctx0, alone, vault)
		require.Equal(t, ReasonNotReady, asCredentialError(t, r.Err))
		requireGaveUp(t, r.Err, "ManagedIdentityCredential: IMDS: no token from 169.254.169.254: dial: connection refused")
	})
}

func TestVector2_aKnownIMDSIsRetriedInAChainToo(t *testing.T) {
	for _, row := range []struct {
		name  string
		first func(*http.Request) *http.Response
		want  string // the chain's token
	}{
		{"410 says so itself", func(r *http.Request) *http.Response { return respond(r, 410, "") }, secretToken},
		{"404 with IMDS's Server header", func(r *http.Request) *http.Response { return imdsStatus(r, 404) }, secretToken},
		{"500 with IMDS's Server header", func(r *http.Request) *http.Response { return imdsStatus(r, 500) }, secretToken},
		{"404 of something else", func(r *http.Request) *http.Response { return respond(r, 404, "<html>") }, "other"},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				blankEnvironment(t)
				_, _, chain := newWire(t, wire{FakeIMDS: &fakeIMDS{Script: func(n int, r *http.Request) (*http.Response, error) {
					if n < 3 {
						return row.first(r), nil
					}
					return nil, nil
				}}, Connect: func(*http.Request) error { return nil }}, ManagedIdentityCredentialOptions{})
				r := get(ctx0, chain, vault)
				require.NoError(t, r.Err)
				require.Equal(t, row.want, r.Token.Token)
			})
		})
	}
}

func TestPresence_anEndpointThatHasBeenIMDSStaysSo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		blankEnvironment(t)
		_, _, chain := newWire(t, wire{FakeIMDS: &fakeIMDS{Script: func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 || n == 2 {
				return respond(r, 502, "<html>"), nil
			}
			return nil, nil
		}}, Connect: func(*http.Request) error { return nil }}, ManagedIdentityCredentialOptions{})
		for _, scope := range scopes(2) {
			require.Equal(t, secretToken, get(ctx0, chain, scope).Token.Token)
		}
	})
}

func TestPresence_a410LastsLongerThanSeventySeconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		began := time.Now()
		_, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
			if time.Since(began) < 70*time.Second {
				return imdsStatus(r, 410), nil
			}
			return nil, nil
		})
		require.NoError(t, get(ctx0, c, vault).Err)
	})
}

func chainWithOther(t *testing.T, c *ManagedIdentityCredential) *ChainedTokenCredential {
	t.Helper()
	return chainOf(t, nil, c, other{})
}

func TestPresence_aCallerThatLeftEarlyLeavesNoVerdictBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var up atomic.Bool
		_, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
			if !up.Load() {
				return nil, delayed(r, time.Hour)
			}
			return nil, nil
		})
		c.gate.ShowConnections(true)
		chain := chainWithOther(t, c)
		ctx, cancel := context.WithTimeout(ctx0, time.Second)
		defer cancel()
		require.ErrorIs(t, get(ctx, chain, vault).Err, context.DeadlineExceeded)
		up.Store(true)
		time.Sleep(70 * time.Second) // past the try's limit
		require.Equal(t, secretToken, get(ctx0, chain, "https://another/.default").Token.Token)
	})
}
