package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// The time without an answer after which the library may send a second request beside the first.
const (
	silent      = 3 * time.Second
	unconnected = 500 * time.Millisecond // at IMDS, without a connection
)

// request is one try, as seen below the library's gate.
type request struct {
	key       key
	ctx       context.Context
	gate      *gateModel
	began     time.Time
	age       int         // number of closings of the gate when it started
	connected atomic.Bool // it got a connection in time
	// pair tells whether this request or the one beside it got a token. recorder.mu guards it.
	pair *bool
}

// alive reports whether the request is neither cancelled nor abandoned.
func (q *request) alive() bool { return q.ctx.Err() == nil }

// silence returns how long the request must be without an answer before another may be sent beside it.
func (q *request) silence() time.Duration {
	if q.gate.name == imdsName && !q.connected.Load() {
		return unconnected
	}
	return silent
}

// traced returns a context that records when the request is connected.
func (q *request) traced(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		if time.Since(q.began) < unconnected-grace {
			q.connected.Store(true)
		}
	}})
}

// requestKey is the context key of a request. A transport uses it to find the request.
type requestKey struct{}

// observer is the policy that reports the requests of a credential to the recorder. It runs below the library's own
// policies.
type observer struct {
	recorder   *recorder
	credential credentialKind
	dropped    string
	gate       *gateModel // nil: the gate of the credential's endpoint
}

func (o observer) Do(req *policy.Request) (resp *http.Response, err error) {
	resource, err := requested(req)
	if err != nil {
		return nil, err
	}
	g := o.gate
	if g == nil {
		g = o.recorder.gates[o.credential.endpoint()]
	}
	ctx := req.Raw().Context()
	q := o.recorder.begin(time.Now(), key{o.credential, o.dropped, resource}, g, ctx)
	defer func() { o.recorder.end(time.Now(), q, resp) }() // runs also if a transport panics
	resp, err = req.WithContext(context.WithValue(q.traced(ctx), requestKey{}, q)).Next()
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// requested returns the resource of the requested token, from the query or from the scope in the body.
func requested(req *policy.Request) (string, error) {
	if resource := req.Raw().URL.Query().Get("resource"); resource != "" {
		return resource, nil
	}
	body, _ := io.ReadAll(req.Body()) // an in-memory body never fails
	form, _ := url.ParseQuery(string(body))
	return strings.TrimSuffix(form.Get("scope"), "/.default"), req.RewindBody()
}

// digest stands for a token. The tokens themselves would take more memory than the library.
type digest [8]byte

func digestOf(token string) (d digest) {
	sum := sha256.Sum256([]byte(token))
	copy(d[:], sum[:])
	return d
}

// answer is a token that arrived.
type answer struct {
	token         digest
	sent, arrived time.Time
	expires       time.Time // latest possible; the library counts expires_in from when it sent the request or earlier
	late          bool      // its request was abandoned, or the other one was answered first: the library may ignore it
}

// readAnswer returns the token in a body. It returns false if there is none, or if it has expired.
func readAnswer(body []byte, sent, now time.Time) (answer, bool) {
	var raw struct {
		Token     string          `json:"access_token"`
		ExpiresOn json.RawMessage `json:"expires_on"`
		ExpiresIn json.RawMessage `json:"expires_in"`
	}
	if json.Unmarshal(body, &raw) != nil || raw.Token == "" {
		return answer{}, false
	}
	a := answer{token: digestOf(raw.Token), sent: sent, arrived: now, expires: sent.Add(1e6 * time.Hour)}
	if n, err := strconv.ParseInt(string(bytes.Trim(raw.ExpiresOn, `"`)), 10, 64); err == nil {
		a.expires = earlier(a.expires, time.Unix(n, 0))
	}
	if n, err := strconv.ParseInt(string(bytes.Trim(raw.ExpiresIn, `"`)), 10, 64); err == nil {
		a.expires = earlier(a.expires, sent.Add(time.Duration(n)*time.Second))
	}
	return a, now.Before(a.expires)
}
