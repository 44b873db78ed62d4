package testkit

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"
)

// Ctx0 never ends.
var Ctx0 = context.Background()

// Result is what came of a call, and how long it took.
type Result struct {
	Token azcore.AccessToken
	Err   error
	Took  time.Duration
}

func ask(ctx context.Context, c azcore.TokenCredential, o policy.TokenRequestOptions) Result {
	began := time.Now()
	t, err := c.GetToken(ctx, o)
	return Result{t, err, time.Since(began)}
}

// Get asks for a token.
func Get(ctx context.Context, c azcore.TokenCredential, scope string) Result {
	return ask(ctx, c, policy.TokenRequestOptions{Scopes: []string{scope}})
}

// GetWithClaims asks for one of Key Vault that meets a challenge.
func GetWithClaims(c azcore.TokenCredential, claims string) Result {
	return ask(Ctx0, c, policy.TokenRequestOptions{Scopes: []string{Vault}, Claims: claims})
}

// GetAll asks for each scope in a goroutine of its own.
func GetAll(ctx context.Context, c azcore.TokenCredential, scopes ...string) []Result {
	results := make([]Result, len(scopes))
	var all sync.WaitGroup
	for i, scope := range scopes {
		all.Go(func() { results[i] = Get(ctx, c, scope) })
	}
	all.Wait()
	return results
}

// Scopes are n of them.
func Scopes(n int) (s []string) {
	for i := range n {
		s = append(s, "https://resource-"+strconv.Itoa(i)+".example/.default")
	}
	return s
}

// Other is a credential of another package, whose token is "other".
type Other struct{}

func (Other) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "other"}, nil
}

// Foreign is another, which calls the function.
type Foreign func(context.Context) (string, error)

func (f Foreign) GetToken(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	t, err := f(ctx)
	return azcore.AccessToken{Token: t, ExpiresOn: time.Now().Add(time.Hour)}, err
}

// Bubble runs a test in fake time, and lets flights that nobody waits for come to their end, which is after three minutes at
// most. A goroutine left after that fails the test.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t)
		time.Sleep(3 * time.Minute)
	})
}

// SleepUntil sleeps until then.
func SleepUntil(t time.Time) { time.Sleep(time.Until(t)) }

// Within makes contexts that end after d.
func Within(d time.Duration) func() (context.Context, context.CancelFunc) {
	return func() (context.Context, context.CancelFunc) { return context.WithTimeout(Ctx0, d) }
}

// RequireFinal checks what each error of GetToken must be.
func RequireFinal(t testing.TB, err error) {
	t.Helper()
	require.Error(t, err)
	require.NotContains(t, err.Error(), "\n")
	require.NotContains(t, err.Error(), SecretToken)
	var final interface{ NonRetriable() }
	require.ErrorAs(t, err, &final)
}

// NotOfAContext checks an error that no caller's context has to do with.
func NotOfAContext(t testing.TB, err error) {
	t.Helper()
	require.NotErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

// RequireJittered checks a time that Retry-After decided: never less, and at most 30 % or 3 s more.
func RequireJittered(t testing.TB, named, took time.Duration) {
	t.Helper()
	require.GreaterOrEqual(t, took, named)
	require.LessOrEqual(t, took, named+min(named, 10*time.Second)*3/10)
}
