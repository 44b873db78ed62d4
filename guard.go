package managedid

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// crash is the error for a guest that panicked or ended its goroutine. A guest is code that this package calls but
// doesn't contain, such as a policy or a callback.
type crash struct{ guest string }

func (c crash) Error() string {
	return c.guest + " panicked, or ended its goroutine; the log record \"panic\" has the stack"
}

// NonRetriable keeps a retry policy from running the guest again.
func (crash) NonRetriable() {}

func (c crash) failure(who string) error {
	return &AuthenticationFailedError{Reason: ReasonPanic, message: who + ": " + c.Error()}
}

// listening names the guests that azcore calls beside the policies.
const listening = "the tracer or azcore's log listener"

// recorder writes log records. A log handler may be slow, request a token itself, or panic.
type recorder struct{ logger *slog.Logger } // nil: nothing is written

func (r recorder) write(level slog.Level, message string, attributes ...any) {
	if r.logger == nil {
		return
	}
	defer func() {
		if recover() != nil && message != "panic" {
			r.crash("the slog handler " + fmt.Sprintf("%T", r.logger.Handler()))
		}
	}()
	r.logger.Log(context.Background(), level, message, attributes...)
}

// behind writes a record in its own goroutine, so that a slow handler doesn't delay the caller.
func (r recorder) behind(level slog.Level, message string, attributes ...any) {
	if r.logger != nil {
		go r.write(level, message, attributes...)
	}
}

// crash records a panic with its stack, but without its value, which may be a secret.
func (r recorder) crash(guest string) crash {
	r.behind(slog.LevelError, "panic", "in", guest, "stack", string(debug.Stack()))
	return crash{guest}
}

// guard calls f, the code of a guest, and returns a crash as the error if it panics. If the guest ends its goroutine,
// guard stores the crash in *crashed, unless that pointer is nil.
func guard[T any](log recorder, guest string, crashed *error, f func() (T, error)) (result T, err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if recover() == nil && crashed != nil {
			if *crashed == nil { // the innermost guard knows the guest
				*crashed = log.crash(guest)
			}
			err = *crashed
		} else {
			err = log.crash(guest)
		}
	}()
	result, err = f()
	returned = true
	return result, err
}

// guardedPolicy is a policy of the user. Its panic is an error.
type guardedPolicy struct {
	policy.Policy
	log recorder
}

func (p guardedPolicy) Do(req *policy.Request) (*http.Response, error) {
	return guard(p.log, fmt.Sprintf("the policy %T", p.Policy), crashedIn(req.Raw().Context()),
		func() (*http.Response, error) { return p.Policy.Do(req) })
}

// crashedKey is the context key of the place for the crash of a guest that ends its goroutine.
type crashedKey struct{}

func withCrashed(ctx context.Context, crashed *error) context.Context {
	return context.WithValue(ctx, crashedKey{}, crashed)
}

func crashedIn(ctx context.Context) *error {
	crashed, _ := ctx.Value(crashedKey{}).(*error)
	return crashed
}
