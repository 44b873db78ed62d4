package managedid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/log"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/tracing"
	"github.com/stretchr/testify/require"
)

const secretHeader = "s3cr3t-h34d3r"

// faults are answers that hold what must not come out again.
var faults = map[string]script{
	"token":                func(n int, r *http.Request) (*http.Response, error) { return nil, nil },
	"expired token":        answerWith(200, `{"access_token":"`+secretToken+`","expires_on":"1"}`),
	"token without expiry": answerWith(200, `{"access_token":"`+secretToken+`"}`),
	"broken JSON":          answerWith(200, `{"access_token":"`+secretToken+`",`),
	"HTML with the token":  answerWith(200, `<html>`+secretToken),
	"text that echoes":     answerWith(403, `you sent `+secretHeader+` and `+secretToken),
	"JSON that echoes":     answerWith(400, `{"error":"invalid_request","error_description":"bad `+secretHeader+`","access_token":"`+secretToken+`"}`),
	"message that echoes":  answerWith(500, `{"statusCode":500,"message":"bad `+secretHeader+`"}`),
	"nested error":         answerWith(404, `{"error":{"code":"x","message":"`+secretHeader+`"}}`),
	"throttled":            answerWith(429, `{"error":"`+secretHeader+`"}`),
	"not found":            answerWith(400, `{"error":"invalid_request","error_description":"Identity not found"}`),
	"redirect": func(n int, r *http.Request) (*http.Response, error) {
		return respond(r, 302, "", "Location", "http://127.0.0.1:1/?"+secretHeader), nil
	},
	"no connection": func(n int, r *http.Request) (*http.Response, error) { return nil, errRefused },
	"hang":          func(n int, r *http.Request) (*http.Response, error) { return nil, delayed(r, time.Hour) },
}

func answerWith(status int, body string) script {
	return func(n int, r *http.Request) (*http.Response, error) {
		return respond(r, status, body, "X-Identity-Header", secretHeader), nil
	}
}

// lockedBuffer collects what goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// recorder's spans write down what it is told.
func recorder(out *lockedBuffer) tracing.Provider {
	return tracing.NewProvider(func(name, version string) tracing.Tracer {
		return tracing.NewTracer(func(ctx context.Context, name string, o *tracing.SpanOptions) (context.Context, tracing.Span) {
			fmt.Fprintf(out, "span %s %+v\n", name, o)
			return ctx, tracing.NewSpan(tracing.SpanImpl{
				End:           func() {},
				SetAttributes: func(a ...tracing.Attribute) { fmt.Fprintf(out, "attributes %+v\n", a) },
				AddEvent:      func(name string, a ...tracing.Attribute) { fmt.Fprintf(out, "event %s %+v\n", name, a) },
				SetStatus:     func(s tracing.SpanStatus, text string) { fmt.Fprintf(out, "status %v %s\n", s, text) },
			})
		}, nil)
	}, nil)
}

// azcoreLog gets azcore's log. The listener is a variable without a lock, hence set once.
var azcoreLog atomic.Pointer[lockedBuffer]

func init() {
	log.SetListener(func(e log.Event, line string) {
		if out := azcoreLog.Load(); out != nil {
			fmt.Fprintln(out, e, line)
		}
	})
}

func TestSecrets_appearInNoErrorLogSpanOrPrintedValue(t *testing.T) {
	for name, s := range faults {
		for _, source := range []Source{SourceIMDS, SourceAppService, SourceAzureML, SourceServiceFabric} {
			t.Run(name+" at "+string(source), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					out := &lockedBuffer{}
					azcoreLog.Store(out)
					defer azcoreLog.Store(nil)
					blankEnvironment(t)
					t.Setenv("IDENTITY_ENDPOINT", "http://localhost:1/msi/token")
					t.Setenv("IDENTITY_HEADER", secretHeader)
					t.Setenv("MSI_ENDPOINT", "http://localhost:1/msi/auth")
					t.Setenv("MSI_SECRET", secretHeader)
					if source == SourceServiceFabric {
						t.Setenv("IDENTITY_ENDPOINT", "https://localhost:1/metadata/identity/oauth2/token")
						t.Setenv("IDENTITY_SERVER_THUMBPRINT", someThumbprint)
					}
					options := azcore.ClientOptions{
						Transport:       &fakeIMDS{script: s, began: time.Now()},
						TracingProvider: recorder(out),
						APIVersion:      "2000-01-01",
						Logging:         policy.LogOptions{IncludeBody: true, AllowedHeaders: []string{"x-identity-header", "X-IDENTITY-HEADER", "secret"}},
					}
					if source == SourceServiceFabric { // takes no such transport
						options.PerRetryPolicies = inPolicy(options.Transport).PerRetryPolicies
						options.Transport = nil
					}
					logger := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
					cache := NewTokenCache(nil)
					alone, err := NewManagedIdentityCredential(&ManagedIdentityCredentialOptions{ClientOptions: options, Source: source, Cache: cache, Logger: logger})
					require.NoError(t, err)
					chain, err := NewDefaultAzureCredential(&DefaultAzureCredentialOptions{ClientOptions: options, Cache: cache, Logger: logger})
					require.NoError(t, err)
					for _, c := range []azcore.TokenCredential{alone, chain} {
						ctx, cancel := context.WithTimeout(ctx0, 10*time.Minute)
						_, err := c.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{vault}})
						cancel()
						printAll(out, err)
						printAll(out, c)
					}
					synctest.Wait() // for the log
					printAll(out, cache)
					require.Contains(t, out.String(), "span ManagedIdentityCredential.GetToken")
					require.Contains(t, out.String(), "ManagedIdentityCredential: "+string(source))
					secrets := []string{secretToken}
					if source != SourceIMDS { // which is not told the other secret
						secrets = append(secrets, secretHeader)
					}
					for _, secret := range secrets {
						for line := range strings.SplitSeq(out.String(), "\n") {
							require.NotContains(t, line, secret)
						}
					}
				})
			})
		}
	}
}

func printAll(out *lockedBuffer, v any) {
	fmt.Fprintf(out, "%v\n%+v\n%#v\n", v, v, v)
	if text, err := json.Marshal(v); err == nil {
		fmt.Fprintf(out, "%s\n", text)
	}
	if e, ok := errors.AsType[*AuthenticationFailedError](asError(v)); ok && e.RawResponse != nil && e.RawResponse.Request != nil {
		fmt.Fprintf(out, "%+v\n", e.RawResponse.Request)
	}
}

func asError(v any) error {
	err, _ := v.(error)
	return err
}
