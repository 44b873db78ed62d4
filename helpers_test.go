package managedid

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// secretToken is in every answer of the tests' fakes, and must be in no output.
const secretToken = "eyJ0b2tlbg.c2VjcmV0.cGF5bG9hZA"

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

type policyFunc func(*policy.Request) (*http.Response, error)

func (f policyFunc) Do(r *policy.Request) (*http.Response, error) { return f(r) }

// inPolicy are options for sources that take no transport of any kind: a policy answers in its place.
func inPolicy(t policy.Transporter) azcore.ClientOptions {
	return azcore.ClientOptions{PerRetryPolicies: []policy.Policy{policyFunc(func(r *policy.Request) (*http.Response, error) { return t.Do(r.Raw()) })}}
}

// respond makes an answer; header is name, value, name, value, …
func respond(r *http.Request, status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Status: statusLine(status), Header: h, Request: r,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

func tokenBody(resource string, expires time.Time) string {
	return fmt.Sprintf(`{"access_token":%q,"expires_on":"%d","resource":%q,"token_type":"Bearer"}`, secretToken, expires.Unix(), resource)
}

// requireError compares an error's line, which ends with the address of its reason's help where it is one of the two types.
func requireError(t require.TestingT, err error, line string, of ...any) {
	if _, failed := errors.AsType[*AuthenticationFailedError](err); failed || ReasonOf(err) != "" {
		line += "; see " + ReasonOf(err).Help()
	}
	require.EqualError(t, err, line, of...)
}

// effort is what an error says of a request that was tried again.
var effort = regexp.MustCompile(`, \d+ tries in \d+[hms0-9]*`)

// requireGaveUp is requireError for a request that was tried again, whatever that took.
func requireGaveUp(t require.TestingT, err error, line string) {
	require.Regexp(t, effort, err.Error())
	line += "; see " + ReasonOf(err).Help()
	require.Equal(t, line, effort.ReplaceAllString(err.Error(), ""))
}

// blankEnvironment hides whatever identity the machine of the tests has.
func blankEnvironment(tb testing.TB) {
	tb.Helper()
	for name := range managedidtest.New(nil).Environ() {
		tb.Setenv(name, "")
	}
	tb.Setenv("KUBERNETES_SERVICE_HOST", "")
}

// TestMain fails where a goroutine of the package has outlived the tests.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := waitForGoroutines(); left != "" && code == 0 {
		fmt.Fprintln(os.Stderr, "goroutines left behind:\n"+left)
		code = 1
	}
	os.Exit(code)
}

// checkGoroutines fails a test that leaves a goroutine of the package behind. Those in a synctest bubble need no
// check: the bubble itself does not end before its goroutines.
func checkGoroutines(tb testing.TB) {
	tb.Helper()
	tb.Cleanup(func() {
		if left := waitForGoroutines(); left != "" {
			tb.Errorf("goroutines left behind:\n%s", left)
		}
	})
}

// waitForGoroutines returns the stacks of goroutines that this package began, once those about to end have had time to.
func waitForGoroutines() (left string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		var all strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&all, 2)
		left = ""
		for stack := range strings.SplitSeq(all.String(), "\n\n") {
			if _, creator, _ := strings.Cut(stack, "created by "); strings.HasPrefix(creator, modulePath+".(") {
				left += stack + "\n\n"
			}
		}
		if left == "" {
			return ""
		}
		<-tick.C
	}
	return left
}

// answerWith answers each request the same.
func answerWith(status int, body string) script {
	return func(n int, r *http.Request) (*http.Response, error) { return respond(r, status, body), nil }
}
