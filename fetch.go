package managedid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// source is one kind of endpoint that gives tokens: what it wants, and what its answers mean.
type source struct {
	name string // in errors and logs
	host string // in errors
	// doubt says why the endpoint may be another than the one that is meant, where it isn't found. "": nothing shows that.
	doubt string
	// identity names the identity and the endpoint in a cache, endpoint the scope of throttling.
	identity, endpoint string
	limits             limits
	explained
	retry     policy.RetryOptions // defaults for the fields that the user left zero
	announced bool                // by the host's variables or the caller: it is there, or will be
	client    *http.Client        // where the user gave none
	// transport replaces the user's transport (nil: none) where the endpoint needs one of its own. Nil: it needs none.
	transport func(policy.Transporter) (policy.Transporter, error)
	// scope checks a request's scopes, and returns them as the one that names their token in the cache.
	scope func([]string) (string, error)
	// sendsClaims tells whether a request says that a challenge was met, and that the caller handles CAE.
	sendsClaims bool
	request     func(context.Context, ask) (*policy.Request, error)
	// again builds the request that an answer asks for, once; nil means that the answer stands. A nil function: it always does.
	again func(ctx context.Context, a ask, sent *policy.Request, got *http.Response) (*policy.Request, error)
	// oneTime: what an answer asked for is good for one request. Where that request's answer was lost, a 401 to its repetition means no more.
	oneTime bool
	// confirm checks a successful answer before its token is taken; nil: nothing to check.
	confirm func(body []byte) error
	// recognise tells the endpoint's own answers from those of something else at its address. Nil: all are.
	recognise func(answer) bool
	// explain says what a failure means, and what to do about it.
	explain func(answer) verdict
}

// explained is what only Explain and logs need of a source. Each may be empty.
type explained struct {
	url       string            // where it asks
	evidence  string            // what shows that it is this source
	subject   string            // whom it asks for
	file      string            // with what it asks
	variables []string          // that it goes by
	check     func() error      // whether the file can be used
	probe     string            // asks for no token, and gets a 2xx where all is well; "": url, which gets another
	isOwn     func(answer) bool // tells the endpoint's own answer to a probe; nil: it can't be told
}

// ask is what a token is asked for.
type ask struct {
	scope      string // from source.scope
	claims     string // a claims challenge in JSON, or ""
	challenged string // the valid token that the challenge found in the cache, or ""
	cae        bool   // the caller handles continuous access evaluation
}

// verdict is a source's explanation of a failed answer; also as an error of again, confirm and transports.
type verdict struct {
	reason      Reason
	advice      string // becomes the error's line, before the quoted answer
	unavailable bool   // a chain may go on
}

func (v verdict) Error() string { return v.advice }

// NonRetriable keeps azcore's retry policy from repeating a try that a transport has given its verdict on.
func (verdict) NonRetriable() {}

// fetch runs in a flight: it sends the request, with all the tries that the source and the user allow.
func (c *credential) fetch(ctx context.Context, a ask) (t token, err error) {
	req, resp, last, err := c.exchange(ctx, a)
	spent := func() bool {
		return err == nil && c.source.oneTime && resp.StatusCode == http.StatusUnauthorized && last.number > 1
	}
	if spent() {
		if req, resp, last, err = c.exchange(ctx, a); spent() {
			err = c.notReady("the answers break off")
		}
	}
	if err != nil {
		return t, err
	}
	body, err := runtime.Payload(resp)
	if err != nil {
		return t, c.unanswered(ctx, err)
	}
	if resp.StatusCode/100 != 2 {
		return t, c.refused(req, resp, body)
	}
	if c.source.confirm != nil {
		if err := c.source.confirm(body); err != nil {
			return t, c.unable(err)
		}
	}
	t, err = decodeToken(body, last.sent, time.Now())
	t.clientID = redacted(t.clientID, secrets(req.Raw())...)
	if err != nil && c.isProven() {
		err = &AuthenticationFailedError{Reason: ReasonMalformedAnswer, message: c.who + ": " + err.Error()}
	} else if err != nil {
		err = notRecognised(c.who, c.source, readAnswer(resp))
	}
	return t, err
}

// exchange sends a request, and the one that its answer asks for. It returns the last.
func (c *credential) exchange(ctx context.Context, a ask) (req *policy.Request, resp *http.Response, last attempt, err error) {
	if req, err = c.source.request(ctx, a); err != nil {
		return nil, nil, last, c.unable(err)
	}
	if resp, last, err = c.send(req); err == nil && c.source.again != nil {
		next, err2 := c.source.again(ctx, a, req, resp)
		if err2 != nil {
			return nil, nil, last, c.unheeded(resp, err2)
		} else if next != nil {
			req = next
			resp, last, err = c.send(req)
		}
	}
	if err != nil {
		err = c.unanswered(ctx, err, secrets(req.Raw())...)
	}
	return req, resp, last, err
}

// unable explains why a request couldn't be made, or an answer not taken.
func (c *credential) unable(err error) error {
	if e, ok := err.(callbackError); ok {
		return e.of(c.who)
	}
	reason := ReasonConfiguration
	if v, ok := errors.AsType[verdict](err); ok {
		reason = v.reason
	}
	return &AuthenticationFailedError{Reason: reason, message: c.who + ": " + oneLine(err.Error())}
}

// unheeded explains why a source didn't do what an answer asks for.
func (c *credential) unheeded(resp *http.Response, err error) error {
	err = c.unable(err)
	e, failed := err.(*AuthenticationFailedError)
	if body, payload := runtime.Payload(resp); failed && payload == nil && resp.StatusCode/100 != 2 {
		e.response = responseMaker(resp, body)
	}
	return err
}

// send returns the last answer, with the Retry-After that the gate had hidden, and its try.
func (c *credential) send(req *policy.Request) (*http.Response, attempt, error) {
	try := attempt{sent: time.Now()} // unless a policy of the user's answers by itself
	resp, err := c.client.Pipeline().Do(req)
	req.OperationValue(&try)
	if resp == nil && err == nil {
		err = errNothing
	} else if err == nil {
		for name, values := range try.retryAfter {
			resp.Header[name] = values
		}
	}
	return resp, try, err
}

// errNothing is what becomes of nothing at all.
var errNothing = errors.New("neither an answer nor an error came back")

// isProven tells whether the endpoint is known to be what it is taken for.
func (c *credential) isProven() bool {
	if c.source.recognise == nil {
		return true
	}
	c.endpoint.mu.Lock()
	defer c.endpoint.mu.Unlock()
	return c.endpoint.presence.proven
}

// unanswered explains a flight that ended without an answer. It never wraps err: only a caller whose own
// context ended may see an error that matches a context's.
func (c *credential) unanswered(ctx context.Context, err error, secrets ...string) error {
	if own, ok := errors.AsType[*AuthenticationFailedError](err); ok {
		return own
	}
	cause, proven := transportCause(err, secrets...), c.isProven()
	c.endpoint.mu.Lock()
	defer c.endpoint.mu.Unlock()
	if ctx.Err() != nil {
		if cause = "no token within " + flightLimit.String(); c.endpoint.failure != "" {
			cause += " (the endpoint's last failure: " + c.endpoint.failure + ")"
		}
	}
	if !proven {
		return absent(c.who, c.source, cause)
	}
	if v, ok := errors.AsType[verdict](err); ok {
		return &AuthenticationFailedError{Reason: v.reason, message: c.who + ": " + v.advice}
	}
	e := c.notReady(cause)
	if ctx.Err() != nil {
		c.endpoint.blame(e)
	}
	return e
}

func (c *credential) notReady(cause string) *AuthenticationFailedError {
	return &AuthenticationFailedError{Reason: ReasonNotReady, message: fmt.Sprintf("%s: no token from %s: %s", c.who, c.source.host, cause)}
}

// refused explains the answer that azcore's retry policy did not, or no longer, retry.
func (c *credential) refused(req *policy.Request, resp *http.Response, body []byte) error {
	secrets := secrets(req.Raw())
	a := readAnswer(resp, secrets...)
	if c.source.recognise != nil && !c.isProven() {
		return notRecognised(c.who, c.source, a)
	}
	v := c.source.explain(a)
	message := fmt.Sprintf("%s: %s (%s)", c.who, v.advice, a)
	if v.unavailable {
		return &CredentialUnavailableError{Reason: v.reason, message: message}
	}
	e := &AuthenticationFailedError{Reason: v.reason, message: message, response: responseMaker(resp, body, secrets...)}
	c.endpoint.mu.Lock()
	defer c.endpoint.mu.Unlock()
	if opens := c.endpoint.gate.opens; opens.After(time.Now()) {
		e.RetryAfter = opens
	}
	return e
}
