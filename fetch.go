package managedid

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/internal/gate"
	"github.com/managedid/managedid/internal/text"
	"github.com/managedid/managedid/internal/tokens"
)

// fetch gets a token by sending the source's request, with the retries that the source and the user allow. It runs in
// the goroutine of a flight.
func (r *requester) fetch(ctx context.Context, p *progress, a tokenParams) (t tokens.Token, err error) {
	req, resp, last, err := r.exchange(ctx, p, a)
	spent := func() bool {
		return err == nil && r.source.oneTime && resp.StatusCode == http.StatusUnauthorized && last.tries > 1
	}
	if spent() {
		if req, resp, last, err = r.exchange(ctx, p, a); spent() {
			err = r.notReady("the answers break off")
		}
	}
	if err != nil {
		return t, err
	}
	body, err := runtime.Payload(resp)
	if err != nil {
		return t, r.unanswered(ctx, last, err)
	}
	if resp.StatusCode/100 != 2 {
		return t, r.failedAnswer(req, resp, last, body)
	}
	if r.source.confirm != nil {
		if err := r.source.confirm(body); err != nil {
			return t, r.unable(err)
		}
	}
	t.AccessToken, t.ClientID, err = answer.Decode(body, resp.Header.Get("Date"), last.sent, time.Now())
	t.ClientID = text.Redact(t.ClientID, secrets(req.Raw())...)
	if err != nil && r.isProven() {
		err = &AuthenticationFailedError{Reason: ReasonMalformedAnswer, message: r.who + ": " + err.Error()}
	} else if err != nil {
		err = r.notRecognised(answer.Read(resp).Status)
	}
	return t, err
}

// exchange sends a request, and then the one that its answer asks for, if any. It returns the last request, its answer
// and its dispatch.
func (r *requester) exchange(
	ctx context.Context, p *progress, a tokenParams,
) (req *policy.Request, resp *http.Response, last *dispatch, err error) {
	p.preparing.Store(true)
	req, err = r.source.request(ctx, a)
	p.preparing.Store(false)
	if err == nil && r.source.address != nil && r.source.address() != r.source.key.address {
		err = errors.New("the address of the endpoint changed while a request was being made")
	}
	if err != nil {
		return nil, nil, nil, r.unable(err)
	}
	if resp, last, err = r.send(p, req, false); err == nil && r.source.followUp != nil {
		next, err2 := r.source.followUp(ctx, a, req, resp)
		if err2 != nil {
			return nil, nil, nil, r.unheeded(resp, err2)
		} else if next != nil {
			req = next
			resp, last, err = r.send(p, req, r.source.oneTime)
		}
	}
	if err != nil {
		err = r.unanswered(ctx, last, err, secrets(req.Raw())...)
	}
	return req, resp, last, err
}

// unable returns the error for a request that couldn't be made, or for an answer that was rejected.
func (r *requester) unable(err error) error {
	if f, ok := err.(interface{ failure(who string) error }); ok {
		return f.failure(r.who)
	}
	reason := ReasonConfiguration
	if v, ok := asType[verdict](err); ok {
		reason = v.reason
	}
	return &AuthenticationFailedError{Reason: reason, message: r.who + ": " + text.Line(err.Error())}
}

// unheeded returns the error for an answer whose demand the source didn't meet. err is the reason.
func (r *requester) unheeded(resp *http.Response, err error) error {
	err = r.unable(err)
	e, failed := err.(*AuthenticationFailedError)
	if body, payload := runtime.Payload(resp); failed && payload == nil && resp.StatusCode/100 != 2 {
		a := answer.Read(resp)
		e.Code, e.Description, e.response = a.Code, a.Description, responseMaker(resp, body)
	}
	return err
}

// send sends a request through the pipeline. It returns the answer, and a dispatch that describes the tries.
func (r *requester) send(p *progress, req *policy.Request, oneTime bool) (*http.Response, *dispatch, error) {
	d := &dispatch{progress: p, oneTime: oneTime, pipeline: r.client.Pipeline(), began: time.Now()}
	d.sent = d.began // unless a policy of the user answers without sending
	raw := req.Raw()
	d.original = raw.Clone(raw.Context())
	var err error
	var ok bool
	if d.limit, ok = raw.Context().Deadline(); !ok {
		d.limit = d.began.Add(tokens.FlightLimit)
	}
	if d.unsent, err = readBody(req); err != nil {
		return nil, d, err
	} else if err = req.RewindBody(); err != nil {
		return nil, d, err
	}
	*raw = *raw.WithContext(context.WithValue(raw.Context(), dispatchKey{}, d))
	resp, err := d.pipeline.Do(req)
	if resp == nil && err == nil {
		err = errNothing
	}
	return resp, d, err
}

// unanswered returns the error of a flight that ended without an answer. It never wraps err, because only a caller
// whose own context has ended may get an error that matches a context's error.
func (r *requester) unanswered(ctx context.Context, d *dispatch, err error, secrets ...string) error {
	if errors.Is(err, gate.ErrAbandoned) {
		return err
	}
	if own, ok := asType[*AuthenticationFailedError](err); ok && own != nil {
		return own
	}
	if v, ok := asType[crash](err); ok {
		return v.failure(r.who)
	}
	if ctx.Err() != nil {
		return r.overdue()
	}
	cause := transportCause(err, secrets...)
	if !r.isProven() {
		return r.absent(cause+d.effort(), errors.Is(err, context.DeadlineExceeded))
	}
	if v, ok := asType[verdict](err); ok {
		return &AuthenticationFailedError{Reason: v.reason, message: r.who + ": " + v.advice}
	}
	return r.notReady(cause + d.effort())
}

// failedAnswer returns the error for an answer that is a failure and is not retried.
func (r *requester) failedAnswer(req *policy.Request, resp *http.Response, d *dispatch, body []byte) error {
	secrets := secrets(req.Raw())
	a := answer.Read(resp, secrets...)
	if !r.isProven() {
		return r.notRecognised(a.Status)
	}
	v := r.source.classify(a)
	message := fmt.Sprintf("%s: %s (%s%s)", r.who, v.advice, a, d.effort())
	if v.unavailable {
		return &CredentialUnavailableError{Reason: v.reason, message: message}
	}
	return &AuthenticationFailedError{Reason: v.reason, Code: a.Code, Description: a.Description,
		RetryAfter: r.gate.Status().Opens, message: message, response: responseMaker(resp, body, secrets...)}
}

// responseMaker returns a function that copies a failed response, each time with a new body reader. The copies contain
// no secrets that the endpoint repeats. Their request has no body, no context and no secret headers.
func responseMaker(resp *http.Response, body []byte, secrets ...string) func() *http.Response {
	body = []byte(text.Redact(string(body), secrets...))
	return func() *http.Response {
		c := *resp
		c.Header = resp.Header.Clone()
		c.Body, c.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		c.TLS, c.Trailer, c.TransferEncoding = nil, nil, nil
		if r := resp.Request; r != nil {
			header := r.Header.Clone()
			for _, name := range secretHeaders {
				header.Del(name)
			}
			u := *r.URL
			c.Request = &http.Request{Method: r.Method, URL: &u, Host: r.Host, Header: header, Proto: r.Proto,
				ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor}
		}
		return &c
	}
}

// overdue returns the error of a flight whose time is over.
func (r *requester) overdue() error {
	status := r.gate.Status()
	cause := "no token within " + tokens.FlightLimit.String()
	if status.Failure != "" {
		cause += " (the endpoint's last failure: " + status.Failure + ")"
	}
	if !r.isProven() {
		return r.absent(cause, false)
	}
	e := r.notReady(cause)
	r.blame(e, status)
	return e
}

// absent returns the error for an endpoint that is not there. silent means that only missing answers show this.
func (r *requester) absent(cause string, silent bool) error {
	message := fmt.Sprintf("%s: not found at %s: %s", r.who, r.source.host, cause)
	if r.source.doubt != "" {
		message += "; " + r.source.doubt
	}
	return &CredentialUnavailableError{Reason: ReasonAbsent, unanswered: cause, silent: silent, message: message}
}

// notRecognised returns the error for an endpoint at whose address something else answers.
func (r *requester) notRecognised(status int) error {
	return &CredentialUnavailableError{Reason: ReasonAbsent,
		message: fmt.Sprintf("%s: what answers at %s is something else, perhaps a proxy (%s)", r.who, r.source.host,
			answer.StatusLine(status))}
}

// notReady returns the error for an endpoint that exists and gives no token.
func (r *requester) notReady(cause string) *AuthenticationFailedError {
	return &AuthenticationFailedError{Reason: ReasonNotReady,
		message: fmt.Sprintf("%s: no token from %s: %s", r.who, r.source.host, cause)}
}

// blame sets the Reason of an error by the endpoint's last failure.
func (r *requester) blame(e *AuthenticationFailedError, status gate.Status) {
	if e.Reason == "" {
		e.Reason = ReasonNotReady
	}
	if status.Failure == answer.StatusLine(429) {
		e.Reason = ReasonThrottled
		e.RetryAfter = status.Opens
	}
}

// forCaller returns the error of a flight for one of its callers. If the caller's source is announced, an absent
// endpoint is one that is not ready: the flight may belong to a credential whose source is not announced.
func (r *requester) forCaller(err error) error {
	if e, ok := err.(*CredentialUnavailableError); ok && e.unanswered != "" && r.source.announced {
		return r.notReady(e.unanswered)
	}
	return copyError(err)
}
