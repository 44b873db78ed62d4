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

// Silence is how long a request for a token has had no answer when a second one may be sent beside it.
const (
	silent      = 3 * time.Second
	unconnected = 500 * time.Millisecond // at IMDS, without a connection
)

// request is one try, as it is below the library's gate.
type request struct {
	key       key
	ctx       context.Context
	door      *door
	began     time.Time
	age       int         // the door's closings at its begin
	connected atomic.Bool // it had a connection before long
	pair      *bool       // whether a token came, to it or to the request beside it; guarded by recorder.mu
}

// alive tells whether the request was neither cancelled nor given up.
func (q *request) alive() bool { return q.ctx.Err() == nil }

// silence is how long it must be without an answer before another one may be sent beside it.
func (q *request) silence() time.Duration {
	if q.door.name == imdsName && !q.connected.Load() {
		return unconnected
	}
	return silent
}

// traced has the request learn when it is connected.
func (q *request) traced(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		if time.Since(q.began) < unconnected-grace {
			q.connected.Store(true)
		}
	}})
}

// requestKey is the key by which a request's context leads its transport to the request.
type requestKey struct{}

// observer is the policy by which the recorder sees the requests of a credential: it is below the library's own.
type observer struct {
	recorder   *recorder
	credential credentialKind
	dropped    string
	door       *door // nil: that of the credential's endpoint
}

func (o observer) Do(req *policy.Request) (resp *http.Response, err error) {
	resource, err := requested(req)
	if err != nil {
		return nil, err
	}
	d := o.door
	if d == nil {
		d = o.recorder.doors[o.credential.endpoint()]
	}
	ctx := req.Raw().Context()
	q := o.recorder.begin(time.Now(), key{o.credential, o.dropped, resource}, d, ctx)
	defer func() { o.recorder.end(time.Now(), q, resp) }() // deferred, since a transport may panic
	resp, err = req.WithContext(context.WithValue(q.traced(ctx), requestKey{}, q)).Next()
	if err != nil {
		return nil, err
	}
	return resp, nil
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

// digest stands for a token, since the tokens themselves would take more memory than the library does.
type digest [8]byte

func digestOf(token string) (d digest) {
	sum := sha256.Sum256([]byte(token))
	copy(d[:], sum[:])
	return d
}

// answer is a token as it arrived.
type answer struct {
	token         digest
	sent, arrived time.Time
	expires       time.Time // at the latest: expires_in is counted from when the request was sent, or before
	late          bool      // it was given up, or the one beside it was answered: the library may have left it
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
	a := answer{token: digestOf(raw.Token), sent: sent, arrived: now, expires: sent.Add(1e6 * time.Hour)}
	if n, err := strconv.ParseInt(string(bytes.Trim(raw.ExpiresOn, `"`)), 10, 64); err == nil {
		a.expires = earlier(a.expires, time.Unix(n, 0))
	}
	if n, err := strconv.ParseInt(string(bytes.Trim(raw.ExpiresIn, `"`)), 10, 64); err == nil {
		a.expires = earlier(a.expires, sent.Add(time.Duration(n)*time.Second))
	}
	return a, now.Before(a.expires)
}
