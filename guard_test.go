package managedid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azlog "github.com/Azure/azure-sdk-for-go/sdk/azcore/log"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/tracing"
	"github.com/stretchr/testify/require"
)

// panicSecret is the value of the guests' panics. It must be in no error and no record.
const panicSecret = "p4nic-s3cret"

// crashing does what ends a guest early, while it is armed.
type crashing struct {
	armed atomic.Bool
	how   func()
}

func (c *crashing) maybe() {
	if c.armed.Load() {
		c.how()
	}
}

// The types of the guests, whose names are in the errors.
type (
	crashingTransport struct {
		*crashing
		policy.Transporter
	}
	crashingTripper struct {
		*crashing
		http.RoundTripper
	}
	crashingPolicy struct {
		*crashing
		after bool
	}
	crashingBody struct{ *crashing }
	crashingLink struct{ *crashing }
)

func (c crashingTransport) Do(r *http.Request) (*http.Response, error) {
	c.maybe()
	return c.Transporter.Do(r)
}

func (c crashingTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	c.maybe()
	return c.RoundTripper.RoundTrip(r)
}

func (c crashingPolicy) Do(r *policy.Request) (*http.Response, error) {
	if !c.after {
		c.maybe()
	}
	resp, err := r.Next()
	c.maybe()
	return resp, err
}

func (c crashingBody) Read([]byte) (int, error) { c.maybe(); return 0, io.EOF }
func (crashingBody) Close() error               { return nil }

func (c crashingLink) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c.maybe()
	return azcore.AccessToken{Token: secretToken, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// tripper makes a RoundTripper of a Transporter.
type tripper struct{ policy.Transporter }

func (t tripper) RoundTrip(r *http.Request) (*http.Response, error) { return t.Do(r) }

// crashingTracer is a tracing provider that crashes where a span begins or, if ends is set, where it ends.
func crashingTracer(c *crashing, ends bool) tracing.Provider {
	return tracing.NewProvider(func(string, string) tracing.Tracer {
		return tracing.NewTracer(func(ctx context.Context, _ string, _ *tracing.SpanOptions) (context.Context, tracing.Span) {
			if !ends {
				c.maybe()
			}
			return ctx, tracing.NewSpan(tracing.SpanImpl{End: func() { c.maybe() }, SetStatus: func(tracing.SpanStatus, string) {}})
		}, nil)
	}, nil)
}

// guests are all whose code runs in a flight, with how an error names them.
var guests = []struct {
	name, inError string
	credential    func(t *testing.T, c *crashing, logger *slog.Logger) (*credential, *fakeIMDS)
}{
	{"transport", "the transport managedid.crashingTransport", imdsWith(func(c *crashing, f *fakeIMDS, o *ManagedIdentityCredentialOptions) {
		o.Transport = crashingTransport{c, f}
	})},
	{"round tripper", "the transport managedid.crashingTripper", imdsWith(func(c *crashing, f *fakeIMDS, o *ManagedIdentityCredentialOptions) {
		o.Transport = &http.Client{Transport: crashingTripper{c, tripper{f}}}
	})},
	{"body of an answer", "the transport *testkit.FakeIMDS", imdsWith(func(c *crashing, f *fakeIMDS, _ *ManagedIdentityCredentialOptions) {
		f.Script = func(_ int, r *http.Request) (*http.Response, error) {
			if !c.armed.Load() {
				return nil, nil
			}
			resp := imdsToken(r, time.Hour)
			resp.Body = crashingBody{c}
			return resp, nil
		}
	})},
	{"per-call policy, before", "the policy managedid.crashingPolicy", imdsWith(func(c *crashing, _ *fakeIMDS, o *ManagedIdentityCredentialOptions) {
		o.PerCallPolicies = []policy.Policy{crashingPolicy{c, false}}
	})},
	{"per-call policy, after", "the policy managedid.crashingPolicy", imdsWith(func(c *crashing, _ *fakeIMDS, o *ManagedIdentityCredentialOptions) {
		o.PerCallPolicies = []policy.Policy{crashingPolicy{c, true}}
	})},
	{"per-retry policy, before", "the policy managedid.crashingPolicy", imdsWith(func(c *crashing, _ *fakeIMDS, o *ManagedIdentityCredentialOptions) {
		o.PerRetryPolicies = []policy.Policy{crashingPolicy{c, false}}
	})},
	{"per-retry policy, after", "the policy managedid.crashingPolicy", imdsWith(func(c *crashing, _ *fakeIMDS, o *ManagedIdentityCredentialOptions) {
		o.PerRetryPolicies = []policy.Policy{crashingPolicy{c, true}}
	})},
	{"ShouldRetry", "RetryOptions.ShouldRetry", imdsWith(func(c *crashing, f *fakeIMDS, o *ManagedIdentityCredentialOptions) {
		o.Retry.ShouldRetry = func(*http.Response, error) bool { c.maybe(); return false }
		f.Script = func(_ int, r *http.Request) (*http.Response, error) {
			if c.armed.Load() {
				return imdsStatus(r, 500), nil
			}
			return nil, nil
		}
	})},
	{"ShouldRetry of a 404", "RetryOptions.ShouldRetry", imdsWith(func(c *crashing, f *fakeIMDS, o *ManagedIdentityCredentialOptions) {
		o.Retry.ShouldRetry = func(*http.Response, error) bool { c.maybe(); return false }
		f.Script = func(_ int, r *http.Request) (*http.Response, error) {
			if c.armed.Load() {
				return imdsStatus(r, 404), nil
			}
			return nil, nil
		}
	})},
	{"tracer, where a span begins", "the tracer", imdsWith(func(c *crashing, _ *fakeIMDS, o *ManagedIdentityCredentialOptions) {
		o.TracingProvider = crashingTracer(c, false)
	})},
	{"tracer, where a span ends", "the tracer", imdsWith(func(c *crashing, _ *fakeIMDS, o *ManagedIdentityCredentialOptions) {
		o.TracingProvider = crashingTracer(c, true)
	})},
	{"azcore's log listener", "azcore's log listener", func(t *testing.T, c *crashing, logger *slog.Logger) (*credential, *fakeIMDS) {
		azlog.SetListener(func(azlog.Event, string) { c.maybe() })
		t.Cleanup(func() { azlog.SetListener(nil) })
		return imdsWith(func(*crashing, *fakeIMDS, *ManagedIdentityCredentialOptions) {})(t, c, logger)
	}},
	{"azcore's log listener, of answers", "azcore's log listener", func(t *testing.T, c *crashing, logger *slog.Logger) (*credential, *fakeIMDS) {
		azlog.SetListener(func(e azlog.Event, _ string) {
			if e == azlog.EventResponse {
				c.maybe()
			}
		})
		t.Cleanup(func() { azlog.SetListener(nil) })
		return imdsWith(func(*crashing, *fakeIMDS, *ManagedIdentityCredentialOptions) {})(t, c, logger)
	}},
	{"getAssertion", "getAssertion", func(t *testing.T, c *crashing, logger *slog.Logger) (*credential, *fakeIMDS) {
		blankEnvironment(t)
		f := &fakeEntra{}
		a, err := NewClientAssertionCredential(someTenant, someClient, func(context.Context) (string, error) { c.maybe(); return "a.b.c", nil },
			&ClientAssertionCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: f}, Logger: logger})
		require.NoError(t, err)
		return a.credential, nil
	}},
}

func imdsWith(set func(*crashing, *fakeIMDS, *ManagedIdentityCredentialOptions)) func(*testing.T, *crashing, *slog.Logger) (*credential, *fakeIMDS) {
	return func(t *testing.T, c *crashing, logger *slog.Logger) (*credential, *fakeIMDS) {
		blankEnvironment(t)
		f := &fakeIMDS{Began: time.Now()}
		o := ManagedIdentityCredentialOptions{Logger: logger}
		o.Transport = f
		set(c, f, &o)
		m, err := NewManagedIdentityCredential(&o)
		require.NoError(t, err)
		return m.credential, f
	}
}

// journal keeps records, each as JSON.
type journal struct {
	mu  sync.Mutex
	all []string // guarded by mu
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.all = append(j.all, string(p))
	return len(p), nil
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// of returns the records with a message.
func (j *journal) of(message string) (found []map[string]any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, line := range j.all {
		record := map[string]any{}
		if json.Unmarshal([]byte(line), &record) == nil && record["msg"] == message {
			found = append(found, record)
		}
	}
	return found
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.all, "")
}

// waysToCrash are what a guest may do that is not to return.
var waysToCrash = map[string]func(){
	"panic":           func() { panic(panicSecret) },
	"panic, an error": func() { panic(errors.New(panicSecret)) },
	"Goexit":          runtime.Goexit,
}

func TestGuard_aGuestThatCrashesIsAnErrorForAllWhoWait(t *testing.T) {
	for _, row := range guests {
		for way, how := range waysToCrash {
			t.Run(row.name+", "+way, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					j, guest := &journal{}, &crashing{how: how}
					c, _ := row.credential(t, guest, j.logger())
					guest.armed.Store(true)
					for range 12 { // more than there are places at IMDS
						for _, r := range getAll(ctx0, c, vault, vault, vault) {
							require.Equal(t, ReasonPanic, asCredentialError(t, r.Err))
							require.Regexp(t, regexp.QuoteMeta(row.inError)+".* panicked", r.Err.Error())
							require.NotContains(t, fmt.Sprintf("%v %+v %#v", r.Err, r.Err, r.Err), panicSecret)
							require.LessOrEqual(t, r.Took, 2*time.Second, "nobody hangs, but the endpoint's rate is kept")
						}
					}
					synctest.Wait()
					require.Zero(t, c.gate.Status().Users, "every place is given back")
					records := j.of("panic")
					require.NotEmpty(t, records)
					for _, record := range records {
						require.Equal(t, "ERROR", record["level"])
						require.Contains(t, record["in"], row.inError)
						require.Contains(t, record["stack"], "crashing).maybe")
					}
					require.NotContains(t, j.text(), panicSecret)
					guest.armed.Store(false)
					r := get(ctx0, c, vault)
					require.NoError(t, r.Err)
					require.LessOrEqual(t, r.Took, 2*time.Second)
				})
			})
		}
	}
}

// What a policy makes of the error of a transport that panicked is its own affair.
func TestGuard_aPolicyMayAnswerForATransportThatPanicked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		guest := &crashing{how: waysToCrash["panic"]}
		guest.armed.Store(true)
		c, _ := imdsWith(func(c *crashing, f *fakeIMDS, o *ManagedIdentityCredentialOptions) {
			o.Transport = crashingTransport{c, f}
			o.PerRetryPolicies = []policy.Policy{policyFunc(func(r *policy.Request) (*http.Response, error) {
				if resp, err := r.Next(); err == nil {
					return resp, nil
				}
				return imdsToken(r.Raw(), time.Hour), nil
			})}
		})(t, guest, nil)
		require.NoError(t, get(ctx0, c, vault).Err)
	})
}

func TestGuard_aCrashIsInOneRecord(t *testing.T) {
	for way, how := range waysToCrash {
		t.Run(way, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				j, guest := &journal{}, &crashing{how: how}
				idle := crashingPolicy{&crashing{}, false}
				c, _ := imdsWith(func(c *crashing, f *fakeIMDS, o *ManagedIdentityCredentialOptions) {
					o.Transport = crashingTransport{c, f}
					o.PerCallPolicies, o.PerRetryPolicies = []policy.Policy{idle}, []policy.Policy{idle}
				})(t, guest, j.logger())
				guest.armed.Store(true)
				require.ErrorContains(t, get(ctx0, c, vault).Err, "the transport managedid.crashingTransport panicked")
				synctest.Wait()
				require.Len(t, j.of("panic"), 1)
			})
		})
	}
}

func TestGuard_aSlogHandlerThatCrashesCostsNoToken(t *testing.T) {
	for way, how := range waysToCrash {
		t.Run(way, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				j, guest := &journal{}, &crashing{how: how}
				crashes := slog.New(slog.NewJSONHandler(crashingWriter{guest, j}, &slog.HandlerOptions{Level: slog.LevelDebug}))
				c, f := imdsWith(func(*crashing, *fakeIMDS, *ManagedIdentityCredentialOptions) {})(t, guest, crashes)
				f.Script = func(n int, r *http.Request) (*http.Response, error) {
					if n%2 == 0 {
						return imdsStatus(r, 429, "Retry-After", "1"), nil // which is in a record
					}
					return nil, nil
				}
				guest.armed.Store(true)
				for _, scope := range scopes(3) {
					require.NoError(t, get(ctx0, c, scope).Err)
				}
				time.Sleep(10 * time.Second)
				require.Zero(t, c.gate.Status().Users)
				require.NotContains(t, j.text(), panicSecret)
				if way != "Goexit" {
					require.NotEmpty(t, j.of("panic"))
					require.Contains(t, j.of("panic")[0]["in"], "the slog handler *slog.JSONHandler")
				}
			})
		})
	}
}

// crashingWriter writes records of panics alone.
type crashingWriter struct {
	*crashing
	*journal
}

func (w crashingWriter) Write(p []byte) (int, error) {
	if !strings.Contains(string(p), `"msg":"panic"`) {
		w.maybe()
	}
	return w.journal.Write(p)
}

func TestGuard_aForeignLinkThatPanicsIsAnErrorOfTheChain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j, guest := &journal{}, &crashing{how: waysToCrash["panic"]}
		c := chainOf(t, &ChainedTokenCredentialOptions{Logger: j.logger()}, crashingLink{guest}, other{})
		guest.armed.Store(true)
		for _, r := range getAll(ctx0, c, vault, vault, vault) {
			require.Equal(t, ReasonPanic, asCredentialError(t, r.Err))
			require.ErrorContains(t, r.Err, "ChainedTokenCredential: the link managedid.crashingLink panicked")
		}
		guest.armed.Store(false)
		require.Equal(t, secretToken, get(ctx0, c, vault).Token.Token)
		guest.armed.Store(true) // as the winner
		require.Equal(t, ReasonPanic, asCredentialError(t, get(ctx0, c, vault).Err))
		synctest.Wait()
		require.Len(t, j.of("panic"), 4)
		require.NotContains(t, j.text(), panicSecret)
	})
}

// What ends the goroutine of a caller is the caller's affair, but must not keep the others out.
func TestGuard_aForeignLinkThatEndsItsGoroutineHoldsNobodyUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		guest := &crashing{how: runtime.Goexit}
		c := chainOf(t, nil, crashingLink{guest}, other{})
		guest.armed.Store(true)
		getAll(ctx0, c, vault, vault)
		guest.armed.Store(false)
		require.Equal(t, secretToken, get(ctx0, c, vault).Token.Token)
	})
}

func TestGuard_isUnavailableThatPanicsEndsTheSearch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := chainOf(t, &ChainedTokenCredentialOptions{IsUnavailable: func(error) bool { panic(panicSecret) }},
			foreign(func(context.Context) (string, error) { return "", errHard }), other{})
		require.Equal(t, errHard, get(ctx0, c, vault).Err)
	})
}

// A typed nil is what a function returns that has its error in a variable of our type.
func TestGuard_aTypedNilOfOursIsAnError(t *testing.T) {
	failed, unavailable := (*AuthenticationFailedError)(nil), (*CredentialUnavailableError)(nil)
	for name, none := range map[string]error{"failed": failed, "unavailable": unavailable, "failed, wrapped": fmt.Errorf("w: %w", failed),
		"unavailable, wrapped": fmt.Errorf("w: %w", unavailable)} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				fails := true
				f, c := newFakeIMDS(t, func(int, *http.Request) (*http.Response, error) {
					if fails {
						return nil, none
					}
					return nil, nil
				})
				for _, r := range getAll(ctx0, c, vault, vault) {
					require.NotEqual(t, ReasonPanic, asCredentialError(t, r.Err))
					notOfAContext(t, r.Err)
				}
				require.LessOrEqual(t, len(f.Requests()), 2, "it isn't tried again")
				link := foreign(func(context.Context) (string, error) { return "", none })
				requireNoPanic := func(c azcore.TokenCredential) {
					if err := get(ctx0, c, vault).Err; err != nil {
						require.NotContains(t, err.Error(), "panic")
						require.False(t, errors.Is(err, context.Canceled))
					}
				}
				requireNoPanic(chainOf(t, nil, link, other{}))
				requireNoPanic(chainOf(t, nil, link))
				fails = false
				require.NoError(t, get(ctx0, c, vault).Err)
			})
		})
	}
}

// Who asks, in a flight, for the token that the flight is for is told so, and the flight goes on.
func TestGuard_aGuestThatAsksForTheSameTokenDoesNotWaitForItself(t *testing.T) {
	type asking struct {
		name string
		set  func(t *testing.T, ask func(), o *ManagedIdentityCredentialOptions)
	}
	for _, row := range []asking{
		{"azcore's log listener", func(t *testing.T, ask func(), _ *ManagedIdentityCredentialOptions) {
			azlog.SetListener(func(azlog.Event, string) { ask() })
			t.Cleanup(func() { azlog.SetListener(nil) })
		}},
		{"a per-call policy", func(_ *testing.T, ask func(), o *ManagedIdentityCredentialOptions) {
			o.PerCallPolicies = []policy.Policy{policyFunc(func(r *policy.Request) (*http.Response, error) { ask(); return r.Next() })}
		}},
		{"a per-retry policy", func(_ *testing.T, ask func(), o *ManagedIdentityCredentialOptions) {
			o.PerRetryPolicies = []policy.Policy{policyFunc(func(r *policy.Request) (*http.Response, error) { ask(); return r.Next() })}
		}},
		{"a tracer", func(_ *testing.T, ask func(), o *ManagedIdentityCredentialOptions) {
			o.TracingProvider = tracing.NewProvider(func(string, string) tracing.Tracer {
				return tracing.NewTracer(func(ctx context.Context, _ string, _ *tracing.SpanOptions) (context.Context, tracing.Span) {
					ask()
					return ctx, tracing.Span{}
				}, nil)
			}, nil)
		}},
		{"a transport", func(_ *testing.T, ask func(), o *ManagedIdentityCredentialOptions) {
			inner := o.Transport
			o.Transport = transportFunc(func(r *http.Request) (*http.Response, error) { ask(); return inner.Do(r) })
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				blankEnvironment(t)
				var c *ManagedIdentityCredential
				var mu sync.Mutex
				var said []error
				ask := func() {
					err := get(ctx0, c, vault).Err
					mu.Lock()
					defer mu.Unlock()
					said = append(said, err)
				}
				o := ManagedIdentityCredentialOptions{}
				o.Transport = &fakeIMDS{Began: time.Now()}
				row.set(t, ask, &o)
				c, err := NewManagedIdentityCredential(&o)
				require.NoError(t, err)
				r := get(ctx0, c, vault)
				require.NoError(t, r.Err)
				require.LessOrEqual(t, r.Took, 2*time.Second)
				synctest.Wait()
				require.NotEmpty(t, said)
				require.ErrorContains(t, said[0], "runs for the very request for it")
				require.Equal(t, ReasonConfiguration, asCredentialError(t, said[0]))
			})
		})
	}
}

// The goroutines of guests that crash outside of bubbles come to their end too.
func TestGuard_leavesNoGoroutine(t *testing.T) {
	checkGoroutines(t)
	for _, row := range guests {
		for _, how := range waysToCrash {
			guest := &crashing{how: how}
			guest.armed.Store(true)
			c, _ := row.credential(t, guest, (&journal{}).logger())
			require.Equal(t, ReasonPanic, asCredentialError(t, get(ctx0, c, vault).Err), row.name)
			azlog.SetListener(nil)
		}
	}
}
