package managedid

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/tracing"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/tokens"
	"github.com/managedid/managedid/managedidtest"
)

// shots keeps when each request was sent and when its context ended, and how many were wanted at once at most.
type shots struct {
	began time.Time

	mu       sync.Mutex
	sent     []time.Duration // guarded by mu, as is the rest
	ended    []time.Duration // zero: it was answered first
	underway map[*http.Request]bool
	top      int // of those under way whose contexts hadn't ended
}

func newShots() *shots { return &shots{began: time.Now(), underway: map[*http.Request]bool{}} }

// take answers after a while, unless the request's context ends first.
func (s *shots) take(r *http.Request, after time.Duration) error {
	s.mu.Lock()
	n := len(s.sent)
	s.sent, s.ended = append(s.sent, time.Since(s.began)), append(s.ended, 0)
	s.underway[r] = true
	wanted := 0
	for other := range s.underway {
		if other.Context().Err() == nil {
			wanted++
		}
	}
	s.top = max(s.top, wanted)
	s.mu.Unlock()
	err := delayed(r, after)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.underway, r)
	if err != nil {
		s.ended[n] = time.Since(s.began)
	}
	return err
}

const silence = 24 * time.Hour

// waits is a script whose n-th answer takes the n-th time, and each after these none.
func (s *shots) waits(times ...time.Duration) script {
	return func(n int, r *http.Request) (*http.Response, error) {
		var after time.Duration
		if n < len(times) {
			after = times[n]
		}
		return nil, s.take(r, after)
	}
}

func TestTry_aSecondRequestGoesOutBesideOneThatIsSilent(t *testing.T) {
	const s = time.Second
	for _, row := range []struct {
		name        string
		waits       []time.Duration
		sent, ended []time.Duration
		took        time.Duration
	}{
		{"answered just before", []time.Duration{3*s - 1}, []time.Duration{0}, []time.Duration{0}, 3*s - 1},
		{"the first is lost", []time.Duration{silence}, []time.Duration{0, 3 * s}, []time.Duration{3 * s, 0}, 3 * s},
		{"the first is slow and the second lost", []time.Duration{4 * s, silence}, []time.Duration{0, 3 * s}, []time.Duration{0, 4 * s}, 4 * s},
		{"two are lost", []time.Duration{silence, silence}, []time.Duration{0, 3 * s, 6 * s}, []time.Duration{6 * s, 6 * s, 0}, 6 * s},
		{"the first is very slow, and all others are lost", []time.Duration{10 * s, silence, silence, silence, silence},
			[]time.Duration{0, 3 * s, 6 * s, 9 * s}, []time.Duration{0, 6 * s, 9 * s, 10 * s}, 10 * s},
	} {
		t.Run(row.name, func(t *testing.T) {
			for host, ask := range map[string]func(*testing.T, script) result{
				"IMDS": func(t *testing.T, s script) result { _, c := newFakeIMDS(t, s); return get(ctx0, c, vault) },
				"Entra": func(t *testing.T, s script) result {
					return get(ctx0, newSecret(t, &fakeEntra{Script: s}, someTenant, someClient, someSecret, ClientSecretCredentialOptions{}), vault)
				},
			} {
				t.Run(host, func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						seen := newShots()
						r := ask(t, seen.waits(row.waits...))
						require.NoError(t, r.Err)
						require.Equal(t, row.took, r.Took)
						synctest.Wait()
						require.Equal(t, row.sent, seen.sent)
						require.Equal(t, row.ended, seen.ended, "what isn't needed any more is cancelled")
						require.LessOrEqual(t, seen.top, 2)
					})
				})
			}
		})
	}
}

func TestTry_withoutAConnectionAfterHalfASecond(t *testing.T) {
	const ms = time.Millisecond
	for _, row := range []struct {
		name    string
		connect []time.Duration // how long that of the n-th request takes
		sent    []time.Duration
		took    time.Duration
	}{
		{"in time", []time.Duration{499 * ms}, []time.Duration{0}, 499 * ms},
		{"lost", []time.Duration{silence}, []time.Duration{0, 500 * ms}, 500 * ms},
		{"late, and the second's lost", []time.Duration{2 * time.Second, silence, silence, silence, silence}, nil, 2 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				blankEnvironment(t)
				seen, n := newShots(), atomic.Int32{}
				f, c, _ := newWire(t, wire{FakeIMDS: &fakeIMDS{}, Connect: func(r *http.Request) error {
					i, after := int(n.Add(1)-1), time.Duration(0)
					if i < len(row.connect) {
						after = row.connect[i]
					}
					return seen.take(r, after)
				}}, ManagedIdentityCredentialOptions{})
				r := get(ctx0, c, vault)
				require.NoError(t, r.Err)
				require.Equal(t, row.took, r.Took)
				synctest.Wait()
				if row.sent != nil {
					require.Equal(t, row.sent, seen.sent)
				}
				require.LessOrEqual(t, seen.top, 2)
				require.NotEmpty(t, f.Requests())
			})
		})
	}
}

// Whatever is lost, there are two requests for one flight at most, for as long as a try may last.
func TestTry_neverMoreThanTwoForOneFlight(t *testing.T) {
	for _, callers := range []int{1, 20} {
		bubble(t, func(t *testing.T) {
			seen := newShots()
			_, c := newFakeIMDS(t, seen.waits(slices.Repeat([]time.Duration{silence}, 1000)...))
			errs := make([]error, callers)
			var all sync.WaitGroup
			for i := range callers { // who come one after the other
				all.Go(func() {
					time.Sleep(time.Duration(i) * 700 * time.Millisecond)
					ctx, cancel := context.WithTimeout(ctx0, 20*time.Second)
					defer cancel()
					errs[i] = get(ctx, c, vault).Err
				})
			}
			all.Wait()
			time.Sleep(tokens.FlightLimit)
			synctest.Wait()
			require.Equal(t, 2, seen.top)
			require.NotContains(t, errs, nil)
		})
	}
}

func TestTry_noSecondRequestWhereThereAreNoRetries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		seen := newShots()
		_, c := newFakeIMDSWith(t, seen.waits(silence), ManagedIdentityCredentialOptions{ClientOptions: noRetries})
		r := get(ctx0, c, vault)
		asCredentialError(t, r.Err)
		require.Equal(t, time.Minute, r.Took)
		synctest.Wait()
		require.Len(t, seen.sent, 1)
	})
}

// Arc's key is good for one request, so a second one with it would be refused.
func TestTry_noSecondRequestWithAKeyOfArc(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir, seen, withKey := t.TempDir(), newShots(), 0
		em := managedidtest.New(&managedidtest.Options{KeyDir: dir})
		o := azcore.ClientOptions{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
			after := 10 * time.Second
			if r.Header.Get("Authorization") == "" {
				after = 0
			} else {
				withKey++
			}
			if err := seen.take(r, after); err != nil {
				return nil, err
			}
			return em.Do(r)
		})}
		r := get(ctx0, arcWith(t, o, dir, nil, nil), vault)
		require.NoError(t, r.Err)
		require.Equal(t, 10*time.Second, r.Took)
		synctest.Wait()
		require.Equal(t, 1, withKey)
		require.Equal(t, 1, seen.top)
	})
}

// The other request goes on where one of two fails.
func TestTry_oneOfTwoThatFailsLeavesTheOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		seen := newShots()
		f, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 {
				return nil, errRefused
			}
			return nil, seen.take(r, 4*time.Second)
		})
		r := get(ctx0, c, vault)
		require.NoError(t, r.Err)
		require.Equal(t, 4*time.Second, r.Took)
		require.Len(t, f.Requests(), 2)
	})
}

// stuck is a script whose first n answers come when they are released, whatever becomes of their requests.
func stuck(n int, release <-chan struct{}, late func(r *http.Request) (*http.Response, error)) script {
	return func(i int, r *http.Request) (*http.Response, error) {
		if i < n {
			<-release
			return late(r)
		}
		return nil, nil
	}
}

func TestTry_aTransportThatIgnoresItsContextGivesItsPlaceBackAtTheLimit(t *testing.T) {
	for name, late := range map[string]func(r *http.Request) (*http.Response, error){
		"a token": func(r *http.Request) (*http.Response, error) {
			return respond(r, 200, `{"access_token":"late","expires_in":"86400"}`, "Server", "IMDS/1"), nil
		},
		"a pause":  func(r *http.Request) (*http.Response, error) { return imdsStatus(r, 429, "Retry-After", "60"), nil },
		"an error": func(*http.Request) (*http.Response, error) { return nil, errRefused },
		"a panic":  func(*http.Request) (*http.Response, error) { panic(panicSecret) },
		"nothing":  func(*http.Request) (*http.Response, error) { return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				release := make(chan struct{})
				_, c := newFakeIMDSWith(t, stuck(1, release, late), ManagedIdentityCredentialOptions{
					ClientOptions: azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1, TryTimeout: 5 * time.Second}}})
				r := get(ctx0, c, vault)
				asCredentialError(t, r.Err)
				notOfAContext(t, r.Err)
				require.Equal(t, 5*time.Second, r.Took)
				require.True(t, idle(c))
				time.Sleep(time.Second)
				got := get(ctx0, c, vault)
				require.NoError(t, got.Err)
				before := c.cache.Stats()
				close(release)
				synctest.Wait()
				require.Equal(t, got.Token, get(ctx0, c, vault).Token, "what comes late changes nothing")
				require.Equal(t, before, c.cache.Stats())
				require.Zero(t, get(ctx0, c, "https://b/.default").Took)
			})
		})
	}
}

func TestTry_fiveStuckTransportsDoNotKeepTheEndpointForEver(t *testing.T) {
	for _, proven := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			release := make(chan struct{})
			var jam atomic.Bool
			_, c := newFakeIMDS(t, func(_ int, r *http.Request) (*http.Response, error) {
				if jam.Load() {
					<-release
				}
				return nil, nil
			})
			if proven {
				require.NoError(t, get(ctx0, c, vault).Err)
			}
			jam.Store(true)
			var stuck sync.WaitGroup
			for _, scope := range scopes(5) {
				stuck.Go(func() { get(ctx0, c, scope) })
			}
			time.Sleep(8 * time.Second)
			jam.Store(false)
			for i := range 10 {
				ctx, cancel := context.WithTimeout(ctx0, 5*time.Second)
				r := get(ctx, c, "https://new-"+string(rune('a'+i))+"/.default")
				cancel()
				require.NoError(t, r.Err)
			}
			stuck.Wait()
			time.Sleep(time.Hour)
			r := get(ctx0, c, "https://later/.default")
			require.NoError(t, r.Err)
			require.Zero(t, r.Took)
			close(release)
			synctest.Wait()
			require.True(t, idle(c))
		})
	}
}

// A healthy endpoint is asked once for each token, however slow it is short of three seconds.
func TestTry_ofAHealthyEndpointIsOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		seen := newShots()
		f, c := newFakeIMDS(t, func(_ int, r *http.Request) (*http.Response, error) { return nil, seen.take(r, 900*time.Millisecond) })
		for _, r := range getAll(ctx0, c, scopes(30)...) {
			require.NoError(t, r.Err)
		}
		require.Len(t, f.Requests(), 30)
	})
}

// idle tells whether nobody sends to a credential's endpoint, or waits for a turn there.
func idle(c *ManagedIdentityCredential) bool { return c.gate.Status().Users == 0 }

// Spans of requests beside each other share nothing of azcore's, which only the race detector sees.
func TestTry_eachSpanIsItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		span := tracing.NewSpan(tracing.SpanImpl{SetStatus: func(tracing.SpanStatus, string) {}})
		f, c := newFakeIMDSWith(t, func(_ int, r *http.Request) (*http.Response, error) {
			if err := delayed(r, 4*time.Second); err != nil {
				return nil, err
			}
			return nil, errRefused
		}, ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{TracingProvider: tracing.NewProvider(func(string, string) tracing.Tracer {
			return tracing.NewTracer(func(ctx context.Context, _ string, _ *tracing.SpanOptions) (context.Context, tracing.Span) {
				return ctx, span
			}, nil)
		}, nil)}})
		ctx, cancel := context.WithTimeout(ctx0, 20*time.Second)
		defer cancel()
		require.Error(t, get(ctx, c, vault).Err)
		require.Greater(t, len(f.Requests()), 2)
	})
}
