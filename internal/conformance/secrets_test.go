package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/log"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/tracing"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/testkit"
)

// witness takes down all that could tell a secret, by channel: each line once.
type witness struct {
	canaries canaries

	mu  sync.Mutex
	out map[string]map[string]bool // guarded by mu
}

func newWitness(t testing.TB, k canaries) *witness {
	w := &witness{canaries: k, out: map[string]map[string]bool{}}
	azcoreLog.Store(w)
	t.Cleanup(func() { azcoreLog.Store(nil) })
	return w
}

// azcoreLog gets azcore's log. The listener is a variable without a lock, hence set once.
var azcoreLog atomic.Pointer[witness]

func init() {
	log.SetListener(func(e log.Event, line string) {
		if w := azcoreLog.Load(); w != nil {
			w.print("azcore's log", "%s %s", e, line)
		}
	})
}

func (w *witness) print(channel, format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.out[channel] == nil {
		w.out[channel] = map[string]bool{}
	}
	for line := range strings.Lines(text) {
		w.out[channel][line] = true
	}
}

// Write makes it the end of a logger.
func (w *witness) Write(b []byte) (int, error) {
	w.print("slog", "%s", b)
	return len(b), nil
}

// dump takes down what each goroutine is doing.
func (w *witness) dump() {
	var all strings.Builder
	for _, debug := range []int{1, 2} { // the first has labels too
		_ = pprof.Lookup("goroutine").WriteTo(&all, debug)
	}
	w.print("goroutines", "%s", all.String())
}

func (w *witness) logger() *slog.Logger {
	every := &slog.HandlerOptions{Level: slog.Level(-1000), AddSource: true}
	return slog.New(handlers{slog.NewTextHandler(w, every), slog.NewJSONHandler(w, every)})
}

// handlers are what slog.NewMultiHandler makes from Go 1.26 on.
type handlers []slog.Handler

func (hs handlers) Enabled(ctx context.Context, level slog.Level) bool {
	return slices.ContainsFunc(hs, func(h slog.Handler) bool { return h.Enabled(ctx, level) })
}

func (hs handlers) Handle(ctx context.Context, r slog.Record) (err error) {
	for _, h := range hs {
		err = errors.Join(err, h.Handle(ctx, r.Clone()))
	}
	return err
}

func (hs handlers) WithAttrs(attrs []slog.Attr) slog.Handler {
	return hs.each(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (hs handlers) WithGroup(name string) slog.Handler {
	return hs.each(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (hs handlers) each(of func(slog.Handler) slog.Handler) (all handlers) {
	for _, h := range hs {
		all = append(all, of(h))
	}
	return all
}

// secretHeaders are those that no log and no error may show.
var secretHeaders = []string{"Authorization", "X-Identity-Header", "Secret"}

// options are those of a user who wants to see everything.
func (w *witness) options() azcore.ClientOptions {
	headers := []string{"Location", "Set-Cookie", "WWW-Authenticate", "X-Other"}
	for _, name := range secretHeaders {
		headers = append(headers, name, strings.ToLower(name), strings.ToUpper(name))
	}
	printer := policyFunc(func(r *policy.Request) (*http.Response, error) {
		w.show("policy", r)
		w.show("policy", r.Raw().Context())
		resp, err := r.Next()
		w.show("policy", err)
		return resp, err
	})
	return azcore.ClientOptions{
		APIVersion:      "2000-01-01",
		TracingProvider: w.spans(),
		Logging: policy.LogOptions{IncludeBody: true, AllowedHeaders: headers,
			AllowedQueryParams: []string{"resource", "token_sha256_to_refresh", "client_secret", "client_assertion"}},
		PerCallPolicies: []policy.Policy{printer}, PerRetryPolicies: []policy.Policy{printer},
	}
}

// spans are a tracer's that writes down what it is told.
func (w *witness) spans() tracing.Provider {
	span := tracing.NewSpan(tracing.SpanImpl{
		End:           func() {},
		SetAttributes: func(a ...tracing.Attribute) { w.print("span", "attributes %+v", a) },
		AddEvent:      func(name string, a ...tracing.Attribute) { w.print("span", "event %s %+v", name, a) },
		SetStatus:     func(s tracing.SpanStatus, text string) { w.print("span", "status %v %s", s, text) },
	})
	return tracing.NewProvider(func(name, version string) tracing.Tracer {
		return tracing.NewTracer(func(ctx context.Context, name string, o *tracing.SpanOptions) (context.Context, tracing.Span) {
			w.print("span", "span %s %+v", name, o)
			return ctx, span
		}, &tracing.TracerOptions{SpanFromContext: func(context.Context) tracing.Span { return span }})
	}, nil)
}

// show prints a value, and what it points to, in all ways.
func (w *witness) show(channel string, v any) {
	if v == nil {
		return
	}
	all := []any{v}
	_, formats := v.(fmt.Formatter)
	if p := reflect.ValueOf(v); !formats && p.Kind() == reflect.Pointer && !p.IsNil() {
		all = append(all, p.Elem().Interface())
	}
	verbs := []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"}
	if channel == "policy" || channel == "emulator" { // whose values are not for other verbs
		verbs = verbs[:3]
	}
	for _, v := range all {
		for _, verb := range verbs {
			w.print(channel+" "+verb, verb, v)
		}
		w.print(channel+" JSON", "%s", inJSON(v))
	}
}

// showError prints an error with its causes and all that its fields lead to.
func (w *witness) showError(err error) {
	for ; err != nil; err = errors.Unwrap(err) {
		w.show("error", err)
		switch e := err.(type) {
		case *managedid.AuthenticationFailedError:
			if e.RawResponse != nil {
				w.show("error's response", *e.RawResponse)
				w.show("error's request", e.RawResponse.Request)
				body, _ := io.ReadAll(e.RawResponse.Body)
				w.print("error's body", "%s", body)
			}
		case *managedid.CredentialUnavailableError:
			for _, link := range e.Links {
				w.showError(link)
			}
		}
	}
}

// showCredential prints a credential with what this package keeps behind it.
func (w *witness) showCredential(v any) {
	w.show("credential", v)
	if c, ok := v.(azcore.TokenCredential); ok {
		if chain, err := managedid.NewChainedTokenCredential([]azcore.TokenCredential{c}, nil); err == nil {
			w.show("report", chain.Explain(ctx0, nil))
		}
	}
	w.showInner(reflect.ValueOf(v), map[unsafe.Pointer]bool{})
}

// innerFields lead from a credential to what it keeps behind it.
var innerFields = []string{"credential", "requester", "chain", "links", "TokenCredential", "source", "tokens", "gate"}

// showInner prints what they lead to.
func (w *witness) showInner(v reflect.Value, seen map[unsafe.Pointer]bool) {
	switch v.Kind() {
	case reflect.Interface:
		w.showInner(v.Elem(), seen)
	case reflect.Slice:
		for i := range v.Len() {
			w.showInner(v.Index(i), seen)
		}
	case reflect.Pointer:
		of := v.Type().Elem().PkgPath()
		if v.IsNil() || seen[v.UnsafePointer()] || !strings.HasPrefix(of, testkit.ModulePath) {
			return
		}
		seen[v.UnsafePointer()] = true
		if v.Type().Elem().Name() != "requester" { // which is a part of the credential
			w.show("credential", v.Interface())
		}
		if of == testkit.ModulePath {
			w.showInner(v.Elem(), seen)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanAddr() && slices.Contains(innerFields, v.Type().Field(i).Name) {
				w.showInner(reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem(), seen)
			}
		}
	}
}

// requireSilence fails the test where anything secret came out, and says where. It returns the channels that were in use.
func (w *witness) requireSilence(t testing.TB) []string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for channel, lines := range w.out {
		require.Empty(t, w.canaries.find(strings.Join(slices.Collect(maps.Keys(lines)), "")), "came out by: %s", channel)
	}
	return slices.Collect(maps.Keys(w.out))
}
