package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// key is whose token it is, and what for.
type key struct {
	credential credentialKind
	resource   string
}

func (k key) String() string { return fmt.Sprintf("%v for %s", k.credential, k.resource) }

// answer is a token as it arrived.
type answer struct {
	token         string
	sent, arrived time.Time
	expires       time.Time // at the latest: expires_in is counted from when the request was sent, or before
	late          bool      // the request's context had ended, so that the library may have left it
}

func readAnswer(body []byte, sent, now time.Time) (answer, bool) {
	var raw struct {
		Token     string          `json:"access_token"`
		ExpiresOn json.RawMessage `json:"expires_on"`
		ExpiresIn json.RawMessage `json:"expires_in"`
	}
	if json.Unmarshal(body, &raw) != nil || raw.Token == "" {
		return answer{}, false
	}
	a := answer{token: raw.Token, sent: sent, arrived: now, expires: sent.Add(1e6 * time.Hour)}
	if n, err := strconv.ParseInt(string(bytes.Trim(raw.ExpiresOn, `"`)), 10, 64); err == nil {
		a.expires = earlier(a.expires, time.Unix(n, 0))
	}
	if n, err := strconv.ParseInt(string(bytes.Trim(raw.ExpiresIn, `"`)), 10, 64); err == nil {
		a.expires = earlier(a.expires, sent.Add(time.Duration(n)*time.Second))
	}
	return a, now.Before(a.expires)
}

// recorder knows each request from its begin to its end, and checks that it may be sent. mu guards all below it.
type recorder struct {
	*violations
	stalls *stalls

	mu       sync.Mutex
	underway map[key]*request
	doors    map[string]*door // by endpoint
	tokens   map[key][]answer // oldest first
	outcomes map[string]int   // of requests, by endpoint and status
}

// request is one try, as it is below the library's throttle.
type request struct {
	key   key
	ctx   context.Context
	door  *door
	began time.Time
	age   int // the door's closings at its begin
}

func newRecorder(s *stalls, v *violations) *recorder {
	return &recorder{violations: v, stalls: s, underway: map[key]*request{}, tokens: map[key][]answer{}, outcomes: map[string]int{},
		doors: map[string]*door{imdsName: {name: imdsName, parallel: 5, perSecond: 20}, entraName: {name: entraName}}}
}

func (r *recorder) begin(now time.Time, k key, ctx context.Context) *request {
	r.mu.Lock()
	d := r.doors[k.credential.endpoint()]
	q := &request{key: k, ctx: ctx, door: d, began: now, age: d.closings}
	if other := r.underway[k]; other != nil && other.ctx.Err() == nil {
		r.add("one request for a key", "%v: a second one, %v after the first", k, now.Sub(other.began))
	}
	r.underway[k] = q
	broken, closed := d.enter(now), d.closed
	r.mu.Unlock()
	for _, b := range broken {
		// a request that was admitted before may be behind the answer that closed the gate
		if !b.ofGate || r.stalls.exceeds(closed, now, grace) {
			r.add(b.promise, "%v: %s", k, b.detail)
		}
	}
	return q
}

func (r *recorder) end(now time.Time, q *request, resp *http.Response, err error) {
	outcome := "no answer"
	var body []byte
	if err == nil {
		outcome = fmt.Sprint(resp.StatusCode)
		body, err = runtime.Payload(resp)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcomes[q.door.name+" "+outcome]++
	if r.underway[q.key] == q {
		delete(r.underway, q.key)
	}
	q.door.underway--
	if err != nil {
		return
	}
	q.door.answered(now, q.age, resp)
	if a, ok := readAnswer(body, q.began, now); ok && resp.StatusCode/100 == 2 {
		a.late = q.ctx.Err() != nil
		// what expired long ago goes, so that a run of days takes no more memory than one of minutes
		known := slices.DeleteFunc(r.tokens[q.key], func(old answer) bool { return now.Sub(old.expires) > time.Minute })
		r.tokens[q.key] = append(known, a)
	}
}

// find returns what was answered to a request for the key: the newest with this token, or where that is "" the newest
// that must be known.
func (r *recorder) find(k key, token string) (answer, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range slices.Backward(r.tokens[k]) {
		if token == "" && !a.late || a.token == token {
			return a, true
		}
	}
	return answer{}, false
}

// observer is the policy by which the recorder sees the requests of a credential: it is below the library's own.
type observer struct {
	recorder   *recorder
	credential credentialKind
}

func (o observer) Do(req *policy.Request) (*http.Response, error) {
	resource, err := requested(req)
	if err != nil {
		return nil, err
	}
	q := o.recorder.begin(time.Now(), key{o.credential, resource}, req.Raw().Context())
	resp, err := req.Next()
	o.recorder.end(time.Now(), q, resp, err)
	return resp, err
}

// requested returns the resource for which a token is asked, which the query names, or the scope in the body.
func requested(req *policy.Request) (string, error) {
	if resource := req.Raw().URL.Query().Get("resource"); resource != "" {
		return resource, nil
	}
	body, _ := io.ReadAll(req.Body()) // of bytes
	form, _ := url.ParseQuery(string(body))
	return strings.TrimSuffix(form.Get("scope"), "/.default"), req.RewindBody()
}
