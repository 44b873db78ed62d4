package conformance

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
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

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/tokens"
)

// modelTimeout is that of a try: odd, so that nothing else happens when it is over.
const modelTimeout = 20*time.Second + 777*time.Microsecond

var schedules = flag.Uint64("schedules", 150, "how many random schedules TestModel plays")

// TestModel plays random schedules with the library and with the reference, and compares which token or error each
// call gets, and when, and when each request is sent. Every other schedule has retries and hedges.
func TestModel(t *testing.T) {
	for seed := range *schedules {
		run := &modelRun{r: rand.New(rand.NewPCG(seed, 7)), seed: seed, retries: int(seed%2) * 3}
		bubble(t, func(t *testing.T) { run.play(t) })
		require.Empty(t, run.compare(), "seed %d:\n%s", seed, run)
	}
}

// modelRequest is a request that was sent, and its answer.
type modelRequest struct {
	modelAnswer
	key, claims, id    string
	at                 time.Time
	expires, refreshes time.Time // of the token
}

type modelAnswer struct {
	status               int // 0: none
	latency              time.Duration
	retryAfter           time.Duration // 0: the answer names none
	life, refreshesAfter time.Duration
}

type modelCall struct {
	key, claims     string
	began, deadline time.Time // no deadline: zero
	got, want       string
	gotAt, wantAt   time.Time
	held            *modelToken
	flight          *modelFlight
	joined          time.Time
}

func (c *modelCall) end(now time.Time, outcome string) { c.want, c.wantAt = outcome, now }

// modelRun is a schedule, and the endpoint in it. It is the handler of the library's records.
type modelRun struct {
	r       *rand.Rand
	seed    uint64
	retries int

	mu       sync.Mutex
	calls    []*modelCall      // by time; guarded by mu, as is the rest
	requests []*modelRequest   // by time
	answer   modelAnswer       // of requests from now on
	expires  time.Time         // of the last token
	pauses   []modelPause      // by time
	failures map[string]string // of flights: key and time → reason
}

// odd adds less than a millisecond, so that no two things happen at one time by chance.
func odd(r *rand.Rand, d time.Duration) time.Duration { return d + time.Duration(1+r.IntN(999_983)) }

func pick[T any](r *rand.Rand, all ...T) T { return all[r.IntN(len(all))] }

func (run *modelRun) play(t *testing.T) {
	cache := managedid.NewTokenCache(&managedid.TokenCacheOptions{RefreshBefore: tokens.DefaultRefreshBefore})
	var credentials []azcore.TokenCredential
	blankEnvironment(t)
	for range 2 {
		o := azcore.ClientOptions{Transport: run, Retry: policy.RetryOptions{TryTimeout: modelTimeout}}
		if run.retries == 0 {
			o.Retry.MaxRetries = -1
		}
		c, err := managedid.NewClientSecretCredential(someTenant, someClient, someSecret,
			&managedid.ClientSecretCredentialOptions{ClientOptions: o, Cache: cache, Logger: slog.New(run)})
		require.NoError(t, err)
		credentials = append(credentials, c)
	}
	var all sync.WaitGroup
	for range 5 + run.r.IntN(30) {
		time.Sleep(run.pause())
		run.mu.Lock()
		run.answer = next(run.r)
		run.mu.Unlock()
		for range pick(run.r, 1, 1, 2, 5) {
			time.Sleep(odd(run.r, 0))
			c := &modelCall{key: pick(run.r, "a", "a", "b", "c", "d"), began: time.Now()}
			c.claims = pick(run.r, "", "", "", "", "", `{"x":1}`)
			if limit := pick(run.r, 0, 0, time.Second, 5*time.Second, 10*time.Second, time.Minute); limit > 0 {
				c.deadline = c.began.Add(odd(run.r, limit))
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
		return odd(run.r, left)
	}
	return odd(run.r, pick(run.r, 0, 300*time.Millisecond, time.Second, 5*time.Second, 40*time.Second, 3*time.Minute, 20*time.Minute))
}

func next(r *rand.Rand) modelAnswer {
	return modelAnswer{
		status:         pick(r, 200, 200, 200, 200, 400, 429, 500, 500, 503, 0),
		latency:        odd(r, pick(r, 0, 0, 100*time.Millisecond, time.Second, 4*time.Second, 30*time.Second)),
		retryAfter:     pick(r, 0, time.Second, 7*time.Second, time.Minute, 4*time.Minute),
		life:           pick(r, -time.Minute, 2*time.Second, 30*time.Second, 3*time.Minute, 7*time.Minute, time.Hour, 24*time.Hour, 60*time.Hour),
		refreshesAfter: pick(r, 0, 0, 0, time.Second, 40*time.Second, 30*time.Minute),
	}
}

func (c *modelCall) make(by azcore.TokenCredential) {
	ctx := ctx0
	if !c.deadline.IsZero() {
		limited, cancel := context.WithDeadline(ctx0, c.deadline)
		defer cancel()
		ctx = limited
	}
	token, err := by.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{c.key}, Claims: c.claims})
	c.gotAt, c.got = time.Now(), token.Token
	if errors.Is(err, context.DeadlineExceeded) {
		c.got = "deadline"
	} else if err != nil {
		if c.got = string(managedid.ReasonOf(err)); c.got == "" {
			c.got = "refused"
		}
	}
}

// Do is the endpoint.
func (run *modelRun) Do(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	run.mu.Lock()
	a := &modelRequest{modelAnswer: run.answer, key: form.Get("scope"), claims: form.Get("claims"), id: fmt.Sprintf("token-%d", len(run.requests)+1), at: time.Now()}
	if own := rand.New(rand.NewPCG(run.seed, uint64(a.at.UnixNano())+uint64(a.key[0])+uint64(len(a.claims)))); own.IntN(3) > 0 {
		a.modelAnswer = next(own)
	}
	a.latency += time.Duration(len(run.requests)) // so that no two answers come at one time
	if a.status == 503 {
		a.retryAfter = max(a.retryAfter, time.Second)
	}
	a.expires = a.at.Add(a.life).Truncate(time.Second)
	a.refreshes = a.expires
	more := ""
	if a.refreshesAfter > 0 {
		a.refreshes = a.at.Add(a.refreshesAfter)
		more = fmt.Sprintf(`,"refresh_in":%d`, int(a.refreshesAfter.Seconds()))
	}
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
		return respond(r, 200, fmt.Sprintf(`{"access_token":%q,"expires_on":%d%s}`, a.id, a.expires.Unix(), more)), nil
	case 429, 503:
		if a.retryAfter > 0 {
			return respond(r, a.status, "{}", "Retry-After", fmt.Sprint(int(a.retryAfter.Seconds()))), nil
		}
	}
	return respond(r, a.status, `{"error":"made_up"}`), nil
}

// compare plays the same calls and answers with the reference, and says what differs.
func (run *modelRun) compare() string {
	m := &model{retries: run.retries, places: map[string]*modelPlace{}, failures: run.failures, modelGate: modelGate{views: [2]modelView{{window: 1}, {window: 1}}, records: run.pauses}}
	for _, key := range []string{"a", "b", "c", "d"} {
		m.places[key] = &modelPlace{flights: map[string]*modelFlight{}}
	}
	calls, requests := run.calls, run.requests
	for now := (time.Time{}); m.wrong == "" && !m.unsure; {
		now = m.soonest(now, calls, requests)
		if now.IsZero() {
			break
		}
		var came []*modelCall
		hits := 0
		for ; len(calls) > 0 && calls[0].began.Equal(now); calls = calls[1:] {
			came = append(came, calls[0])
			if t := m.places[calls[0].key].token; calls[0].claims == "" && t.valid(now) && now.Before(t.due) {
				hits++
			}
		}
		n := 0
		for n < len(requests) && requests[n].at.Equal(now) {
			n++
		}
		m.settle(now, came, requests[:n], hits < len(came))
		requests = requests[n:]
	}
	for _, c := range run.calls {
		m.check(c.got == c.want && c.gotAt.Equal(c.wantAt), "the call of %v got %s at %v, instead of %s at %v",
			c.began, c.got, c.gotAt, c.want, c.wantAt)
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
	for _, s := range m.underway {
		consider(s.ends)
		consider(s.lateAt)
	}
	for _, f := range m.flights {
		consider(f.began.Add(3 * time.Minute))
		consider(f.keep)
		_, most, _ := m.wants(now, f)
		consider(most)
	}
	if m.closed {
		consider(m.opens)
	}
	for _, v := range m.views {
		if v.failing > 0 && len(m.flights) > 0 {
			_, most := m.spacing(now, v.failing)
			consider(m.last.Add(most))
		}
	}
	return at
}

func (run *modelRun) String() string {
	var b strings.Builder
	for _, c := range run.calls {
		fmt.Fprintf(&b, "call    %s %s %s, deadline %s: %s at %s\n", shortTime(c.began), c.key, c.claims, shortTime(c.deadline), c.got, shortTime(c.gotAt))
	}
	for _, r := range run.requests {
		fmt.Fprintf(&b, "request %s %s %s: %d after %v, Retry-After %v, %s until %s\n", shortTime(r.at), r.key, r.claims, r.status, r.latency, r.retryAfter, r.id, shortTime(r.expires))
	}
	for _, p := range run.pauses {
		fmt.Fprintf(&b, "pause   %s until %s\n", shortTime(p.at), shortTime(p.until))
	}
	return b.String()
}

func shortTime(t time.Time) string {
	if t.IsZero() {
		return "none"
	}
	return t.Format("2 15:04:05.000000000")
}
