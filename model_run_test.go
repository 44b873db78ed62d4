package managedid

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"
)

var schedules = flag.Uint64("schedules", 400, "how many random schedules TestModel plays")

// TestModel plays random schedules with the library and with the reference, and compares which token or error each call gets,
// and when, and when each request is sent.
func TestModel(t *testing.T) {
	for seed := range *schedules {
		run := &modelRun{r: rand.New(rand.NewPCG(seed, 7))}
		bubble(t, func(t *testing.T) { run.play(t) })
		require.Empty(t, run.compare(), "seed %d:\n%s", seed, run)
	}
}

// modelRequest is a request that was sent, and its answer.
type modelRequest struct {
	modelAnswer
	key, id string
	at      time.Time
	expires time.Time // of the token
}

type modelAnswer struct {
	status           int // 0: none
	latency          time.Duration
	retryAfter, life time.Duration
}

type modelCall struct {
	key             string
	began, deadline time.Time // no deadline: zero
	got, want       string
	gotAt, wantAt   time.Time
	held            *modelToken
	flight          *modelFlight
	closed          bool // the gate was closed at its end: it may be throttled instead
}

func (c *modelCall) end(now time.Time, outcome string) { c.want, c.wantAt = outcome, now }

// modelRun is a schedule, and the endpoint in it.
type modelRun struct {
	r *rand.Rand

	mu       sync.Mutex
	calls    []*modelCall    // by time; guarded by mu, as is the rest
	requests []*modelRequest // by time
	answer   modelAnswer     // of requests from now on
	expires  time.Time       // of the last token
}

// odd adds less than a millisecond, so that no two things happen at one time by chance.
func (run *modelRun) odd(d time.Duration) time.Duration {
	return d + time.Duration(1+run.r.IntN(999_983))
}

func pick[T any](r *rand.Rand, all ...T) T { return all[r.IntN(len(all))] }

func (run *modelRun) play(t *testing.T) {
	cache := NewTokenCache(&TokenCacheOptions{RefreshBefore: defaultRefreshBefore})
	var credentials []azcore.TokenCredential
	blankEnvironment(t)
	for range 2 {
		o := noRetries
		o.Transport = run
		c, err := NewClientSecretCredential(someTenant, someClient, someSecret, &ClientSecretCredentialOptions{ClientOptions: o, Cache: cache})
		require.NoError(t, err)
		credentials = append(credentials, c)
	}
	var all sync.WaitGroup
	for range 5 + run.r.IntN(30) {
		time.Sleep(run.pause())
		run.mu.Lock()
		run.answer = run.next()
		run.mu.Unlock()
		for range pick(run.r, 1, 1, 2, 5) {
			c := &modelCall{key: pick(run.r, "a", "a", "b"), began: time.Now()}
			if limit := pick(run.r, 0, 0, time.Second, 10*time.Second, time.Minute); limit > 0 {
				c.deadline = c.began.Add(run.odd(limit))
			}
			run.calls = append(run.calls, c)
			all.Go(func() { c.make(pick(rand.New(rand.NewPCG(1, uint64(c.began.UnixNano()))), credentials...)) })
		}
	}
	all.Wait()
}

// pause is the time until something happens: often until the last token is due, urgent or near its end.
func (run *modelRun) pause() time.Duration {
	run.mu.Lock()
	defer run.mu.Unlock()
	left := time.Until(run.expires) - pick(run.r, 6*time.Minute, 299*time.Second, 200*time.Second, 119*time.Second, time.Minute, time.Second, 50*time.Millisecond, 0)
	if !run.expires.IsZero() && left > 0 && run.r.IntN(3) == 0 {
		return run.odd(left)
	}
	return run.odd(pick(run.r, 0, 300*time.Millisecond, time.Second, 5*time.Second, 40*time.Second, 3*time.Minute, 20*time.Minute))
}

func (run *modelRun) next() modelAnswer {
	return modelAnswer{
		status:     pick(run.r, 200, 200, 200, 200, 400, 429, 500, 503, 0),
		latency:    run.odd(pick(run.r, 0, 0, 100*time.Millisecond, time.Second, 4*time.Second, 30*time.Second)),
		retryAfter: pick(run.r, time.Second, 7*time.Second, time.Minute, 4*time.Minute),
		life:       pick(run.r, -time.Minute, 2*time.Second, 30*time.Second, 3*time.Minute, 7*time.Minute, time.Hour, 24*time.Hour),
	}
}

func (c *modelCall) make(by azcore.TokenCredential) {
	ctx := ctx0
	if !c.deadline.IsZero() {
		limited, cancel := context.WithDeadline(ctx0, c.deadline)
		defer cancel()
		ctx = limited
	}
	token, err := by.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{c.key}})
	c.gotAt, c.got = time.Now(), token.Token
	if errors.Is(err, context.DeadlineExceeded) {
		c.got = "deadline"
	} else if err != nil {
		if c.got = string(ReasonOf(err)); c.got == "" {
			c.got = "refused"
		}
	}
}

// Do is the endpoint.
func (run *modelRun) Do(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	run.mu.Lock()
	a := &modelRequest{modelAnswer: run.answer, key: form.Get("scope"), id: fmt.Sprintf("token-%d", len(run.requests)+1), at: time.Now()}
	a.expires = a.at.Add(a.life).Truncate(time.Second)
	run.requests = append(run.requests, a)
	if a.status == 200 {
		run.expires = a.expires
	}
	run.mu.Unlock()
	select {
	case <-time.After(a.latency):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	switch a.status {
	case 0:
		return nil, errRefused
	case 200:
		return respond(r, 200, fmt.Sprintf(`{"access_token":%q,"expires_on":%d}`, a.id, a.expires.Unix())), nil
	case 429, 503:
		return respond(r, a.status, "{}", "Retry-After", fmt.Sprint(int(a.retryAfter.Seconds()))), nil
	}
	return respond(r, a.status, `{"error":"made_up"}`), nil
}

// compare plays the same calls and answers with the reference, and says what differs.
func (run *modelRun) compare() string {
	m := &model{places: map[string]*modelPlace{"a": {}, "b": {}}}
	calls, requests := run.calls, run.requests
	for now := (time.Time{}); m.wrong == ""; {
		now = m.soonest(now, calls, requests)
		if now.IsZero() {
			break
		}
		for ; len(calls) > 0 && calls[0].began.Equal(now); calls = calls[1:] {
			m.call(now, calls[0])
		}
		n := 0
		for n < len(requests) && requests[n].at.Equal(now) {
			n++
		}
		m.settle(now, requests[:n])
		requests = requests[n:]
	}
	for _, c := range run.calls {
		m.check((c.got == c.want || c.closed && c.got == string(ReasonThrottled)) && c.gotAt.Equal(c.wantAt), fmt.Sprintf("the call of %v got %s at %v, instead of %s at %v",
			c.began, c.got, c.gotAt, c.want, c.wantAt))
	}
	return m.wrong
}

// soonest is when something happens next, after now; zero: never.
func (m *model) soonest(now time.Time, calls []*modelCall, requests []*modelRequest) (at time.Time) {
	consider := func(t time.Time) {
		if t.After(now) && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if len(calls) > 0 {
		consider(calls[0].began)
	}
	if len(requests) > 0 {
		consider(requests[0].at)
	}
	for _, c := range m.waiting {
		consider(c.until())
	}
	for _, p := range m.places {
		if p.flight != nil {
			consider(p.flight.ends)
		}
		if p.flight != nil && p.flight.ends.IsZero() {
			consider(m.opens)
		}
	}
	return at
}

func (run *modelRun) String() string {
	var b strings.Builder
	for _, c := range run.calls {
		fmt.Fprintf(&b, "call  %v %s, deadline %v: %s at %v\n", c.began, c.key, c.deadline, c.got, c.gotAt)
	}
	for _, r := range run.requests {
		fmt.Fprintf(&b, "request %v %s: %d after %v, Retry-After %v, %s until %v\n", r.at, r.key, r.status, r.latency, r.retryAfter, r.id, r.expires)
	}
	return b.String()
}
