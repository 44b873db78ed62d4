package conformance

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/internal/tokens"
)

func TestPresence_aChainDoesNotWaitForAPatientFlightThatRests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var up atomic.Bool
		f, c := newFakeIMDS(t, testkit.Switched(&up))
		var patient sync.WaitGroup
		patient.Go(func() { require.NoError(t, get(ctx0, c, vault).Err) })
		for len(f.Requests()) < 4 { // the next try is 20 s away
			time.Sleep(100 * time.Millisecond)
		}
		up.Store(true)
		time.Sleep(6 * time.Second)
		r := get(ctx0, chainWithOther(t, c), vault)
		require.Equal(t, secretToken, r.Token.Token)
		require.Zero(t, r.Took)
		patient.Wait()
		require.Len(t, f.Requests(), 5) // the chain's try served the patient caller too
	})
}

func TestCache_aFailedRenewalLeavesTheCurrentTokensPlan(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 {
				return imdsStatus(r, 400), nil
			}
			return imdsToken(r, 24*time.Hour), nil
		})
		first := get(ctx0, c, vault)
		_, err := c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: []string{vault}, Claims: "{}"})
		asCredentialError(t, err)
		sleepUntil(first.Token.RefreshOn.Add(-time.Second))
		require.NoError(t, get(ctx0, c, vault).Err)
		synctest.Wait()
		require.Len(t, f.Requests(), 2)
	})
}

func TestThrottle_aCallerWhoseOwnTryEndsBehindAClosedGateIsTold(t *testing.T) {
	for name, answer := range map[string]func(r *http.Request) (*http.Response, error){
		"500":     func(r *http.Request) (*http.Response, error) { return imdsStatus(r, 500), nil },
		"429":     func(r *http.Request) (*http.Response, error) { return imdsStatus(r, 429), nil },
		"refused": func(r *http.Request) (*http.Response, error) { return nil, errRefused },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
					switch {
					case n == 0 || time.Since(time.Unix(946684800, 0)) > time.Minute:
						return nil, nil
					case r.URL.Query().Get("resource") == "https://a":
						return imdsStatus(r, 429, "Retry-After", "60"), delayed(r, 50*time.Millisecond)
					}
					if err := delayed(r, 100*time.Millisecond); err != nil {
						return nil, err
					}
					return answer(r)
				})
				require.NoError(t, get(ctx0, c, vault).Err)
				ctx, cancel := context.WithTimeout(ctx0, 10*time.Second)
				defer cancel()
				for _, r := range getAll(ctx, c, "https://a", "https://b") {
					require.Equal(t, managedid.ReasonThrottled, asCredentialError(t, r.Err))
					require.LessOrEqual(t, r.Took, 100*time.Millisecond)
				}
			})
		})
	}
}

func TestPresence_whatIsNotIMDSCantCloseTheGateOfAChain(t *testing.T) {
	for _, after := range []string{"300", "60"} {
		bubble(t, func(t *testing.T) {
			_, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
				return respond(r, 503, "<html>maintenance", "Retry-After", after), nil
			})
			ctx, cancel := context.WithTimeout(ctx0, 30*time.Second)
			defer cancel()
			for range 3 {
				r := get(ctx, chainWithOther(t, c), vault)
				require.NoError(t, r.Err)
				require.Equal(t, "other", r.Token.Token)
				require.Zero(t, r.Took)
			}
			require.Equal(t, managedid.ReasonAbsent, asCredentialError(t, get(ctx0, c, vault).Err))
		})
	}
}

func TestPresence_JSONOfOtherThingsIsNotIMDSs(t *testing.T) {
	for status, body := range map[int]string{404: `{"message":"no Route matched with those values"}`, 403: `{"message":"Forbidden"}`,
		502: `{"error":{"code":"BadGateway","message":"upstream"}}`, 200: `{"message":"hello"}`} {
		bubble(t, func(t *testing.T) {
			f, c := newFakeIMDS(t, answerWith(status, body))
			r := get(ctx0, chainWithOther(t, c), vault)
			require.Equal(t, "other", r.Token.Token)
			require.Len(t, f.Requests(), 1)
		})
	}
}

func TestPresence_aFlightSharedWithACredentialThatKnowsItsEndpointFailsEachItsWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cache := managedid.NewTokenCache(nil)
		refuses := func(n int, r *http.Request) (*http.Response, error) {
			if err := delayed(r, time.Second); err != nil {
				return nil, err
			}
			return nil, errRefused
		}
		_, told := newFakeIMDSWith(t, refuses, managedid.ManagedIdentityCredentialOptions{Source: managedid.SourceIMDS, Cache: cache, ClientOptions: noRetries})
		_, untold := newFakeIMDSWith(t, refuses, managedid.ManagedIdentityCredentialOptions{Cache: cache, ClientOptions: noRetries})
		var both sync.WaitGroup
		both.Go(func() { require.Equal(t, managedid.ReasonNotReady, asCredentialError(t, get(ctx0, told, vault).Err)) })
		synctest.Wait()
		require.Equal(t, "other", get(ctx0, chainWithOther(t, untold), vault).Token.Token)
		both.Wait()
	})
}

func TestThrottle_aCallerWhoseOwnRequestIsUnderWayGetsItsAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
			switch r.URL.Query().Get("resource") {
			case "https://slow":
				return nil, delayed(r, 100*time.Millisecond)
			case "https://bad":
				return imdsStatus(r, 429, "Retry-After", "30"), nil
			}
			return nil, nil
		})
		require.NoError(t, get(ctx0, c, vault).Err)
		ctx, cancel := context.WithTimeout(ctx0, 10*time.Second)
		defer cancel()
		var both sync.WaitGroup
		both.Go(func() { require.NoError(t, get(ctx, c, "https://slow").Err) })
		synctest.Wait()
		require.Equal(t, managedid.ReasonThrottled, asCredentialError(t, get(ctx, c, "https://bad").Err))
		both.Wait()
	})
}

func TestThrottle_aPauseBeyondTheFlightsOwnLimitIsSaid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
			return imdsStatus(r, 429, "Retry-After", "100"), nil
		})
		r := get(ctx0, c, vault)
		require.Equal(t, managedid.ReasonThrottled, asCredentialError(t, r.Err))
		require.Less(t, r.Took, 2*time.Minute)
	})
}

func TestCache_repeatsARefusalItCantExplainToo(t *testing.T) {
	for _, status := range []int{400, 401, 403, 405} {
		bubble(t, func(t *testing.T) {
			f, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
				return respond(r, status, `{"error":"access_denied"}`, "Server", "IMDS/1"), nil
			})
			for range 15 {
				asCredentialError(t, get(ctx0, c, vault).Err)
			}
			require.Len(t, f.Requests(), 1)
		})
	}
}

func TestCache_aTransportThatIgnoresItsContextHoldsNobodyBeyondTheFlightsLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		_, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) { <-release; return nil, nil })
		for _, scope := range []string{vault, vault, "https://another/.default"} {
			r := get(ctx0, c, scope)
			asCredentialError(t, r.Err)
			notOfAContext(t, r.Err)
			require.Equal(t, tokens.FlightLimit, r.Took)
		}
	})
}

// reentrant is a log handler that needs a token itself, as one that ships logs to Azure does.
type reentrant struct {
	slog.Handler
	handle func()
}

func (r *reentrant) Handle(context.Context, slog.Record) error { r.handle(); return nil }
func (r *reentrant) Enabled(context.Context, slog.Level) bool  { return true }

func TestCache_aLogHandlerMayAskForTheTokenThatItIsToldOf(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &reentrant{}
		_, c := newFakeIMDSWith(t, nil, managedid.ManagedIdentityCredentialOptions{Logger: slog.New(h)})
		h.handle = func() { require.NoError(t, get(ctx0, c, vault).Err) }
		require.NoError(t, get(ctx0, c, vault).Err)
	})
}

func TestErrors_quoteNothingOfAnotherCallersRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
			if n == 0 {
				return respond(r, 400, `{"error":"invalid_resource","error_description":"typo"}`, "Server", "IMDS/1"), nil
			}
			return nil, delayed(r, time.Minute)
		})
		asCredentialError(t, get(ctx0, c, "https://typo").Err)
		ctx, cancel := context.WithTimeout(ctx0, time.Second)
		defer cancel()
		requireError(t, get(ctx, c, vault).Err,
			"ManagedIdentityCredential: IMDS: no token before the caller's context ended (nothing has answered at 169.254.169.254 for 1s): context deadline exceeded")
	})
}

func TestSecrets_anAnswerThatIsNotHTTPIsNotQuoted(t *testing.T) {
	for _, reply := range []string{"HTTP/1.1 %s\r\n\r\n", "%s\r\n\r\n", "HTTP/1.1 200 OK\r\n%s\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n", "HTTP/1.1 302 Found\r\nLocation: http://x/%%zz%s\r\nContent-Length: 0\r\n\r\n"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		served := make(chan struct{})
		go func() {
			defer close(served)
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, fmt.Sprintf(reply, someHeader))
			_ = conn.Close()
		}()
		blankEnvironment(t)
		t.Setenv("IDENTITY_ENDPOINT", "http://"+l.Addr().String()+"/msi/token")
		t.Setenv("IDENTITY_HEADER", someHeader)
		c, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{Cache: managedid.NewTokenCache(nil), ClientOptions: noRetries})
		require.NoError(t, err)
		err = get(ctx0, c, vault).Err
		asCredentialError(t, err)
		require.NotContains(t, err.Error(), someHeader)
		require.True(t, strings.HasPrefix(err.Error(), "ManagedIdentityCredential: App Service: "))
		t.Log(err)
		require.NoError(t, l.Close())
		<-served
	}
}
