package managedid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/managedid/managedid/internal/gate"
	"github.com/managedid/managedid/internal/tokens"
)

// source is one kind of endpoint that gives tokens: what it wants, and what its answers mean.
type source struct {
	name string // in errors and logs
	host string // in errors
	// doubt says why the endpoint may be another than the one that is meant, where it isn't found. "": nothing shows
	// that.
	doubt string
	// identity names the identity and the endpoint in a cache, endpoint the scope of throttling.
	identity, endpoint string
	limits             gate.Config
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
	// preparing says what is going on while a request is being made, and what kind of failure that is. Nil: that
	// takes no time.
	preparing func() (string, Reason)
	// again builds the request that an answer asks for, once; nil means that the answer stands. A nil function: it
	// always does.
	again func(ctx context.Context, a ask, sent *policy.Request, got *http.Response) (*policy.Request, error)
	// oneTime: what an answer asked for is good for one request. Where that request's answer was lost, a 401 to its
	// repetition means no more.
	oneTime bool
	// confirm checks a successful answer before its token is taken; nil: nothing to check.
	confirm func(body []byte) error
	// recognise tells the endpoint's own answers from those of something else at its address. Nil: all are.
	recognise func(answer) bool
	// explain says what a failure means, and what to do about it.
	explain func(answer) verdict
}

// recognises tells whether an answer is the endpoint's own.
func (s *source) recognises(a answer) bool { return s.recognise == nil || s.recognise(a) }

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
func (c *credential) fetch(ctx context.Context, r *request, a ask) (t tokens.Token, err error) {
	req, resp, last, err := c.exchange(ctx, r, a)
	spent := func() bool {
		return err == nil && c.source.oneTime && resp.StatusCode == http.StatusUnauthorized && last.tries > 1
	}
	if spent() {
		if req, resp, last, err = c.exchange(ctx, r, a); spent() {
			err = c.notReady("the answers break off")
		}
	}
	if err != nil {
		return t, err
	}
	body, err := runtime.Payload(resp)
	if err != nil {
		return t, c.unanswered(ctx, last, err)
	}
	if resp.StatusCode/100 != 2 {
		return t, c.refused(req, resp, last, body)
	}
	if c.source.confirm != nil {
		if err := c.source.confirm(body); err != nil {
			return t, c.unable(err)
		}
	}
	t, err = decodeToken(body, resp.Header.Get("Date"), last.sent, time.Now())
	t.ClientID = redacted(t.ClientID, secrets(req.Raw())...)
	if err != nil && c.isProven() {
		err = &AuthenticationFailedError{Reason: ReasonMalformedAnswer, message: c.who + ": " + err.Error()}
	} else if err != nil {
		err = notRecognised(c.who, c.source, readAnswer(resp).status)
	}
	return t, err
}

// exchange sends a request, and the one that its answer asks for. It returns the last.
func (c *credential) exchange(ctx context.Context, r *request, a ask) (req *policy.Request, resp *http.Response, last *dispatch, err error) {
	r.preparing.Store(true)
	req, err = c.source.request(ctx, a)
	r.preparing.Store(false)
	if err != nil {
		return nil, nil, nil, c.unable(err)
	}
	if resp, last, err = c.send(r, req, false); err == nil && c.source.again != nil {
		next, err2 := c.source.again(ctx, a, req, resp)
		if err2 != nil {
			return nil, nil, nil, c.unheeded(resp, err2)
		} else if next != nil {
			req = next
			resp, last, err = c.send(r, req, c.source.oneTime)
		}
	}
	if err != nil {
		err = c.unanswered(ctx, last, err, secrets(req.Raw())...)
	}
	return req, resp, last, err
}

// unable explains why a request couldn't be made, or an answer not taken.
func (c *credential) unable(err error) error {
	switch e := err.(type) {
	case callbackError:
		return e.of(c.who)
	case crash:
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

// send sends a request through the pipeline, and returns the answer and what is known of its tries.
func (c *credential) send(r *request, req *policy.Request, oneTime bool) (*http.Response, *dispatch, error) {
	d := &dispatch{request: r, oneTime: oneTime, pipeline: c.client.Pipeline(), began: time.Now()}
	d.sent = d.began // unless a policy of the user's answers by itself
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

// errNothing is what becomes of nothing at all.
var errNothing = errors.New("neither an answer nor an error came back")

// isProven tells whether the endpoint is known to be what it is taken for.
func (c *credential) isProven() bool { return c.source.recognise == nil || c.gate.Status().Proven }

// overdue is the error of a flight whose time is over.
func (c *credential) overdue() error {
	status := c.gate.Status()
	cause := "no token within " + tokens.FlightLimit.String()
	if status.Failure != "" {
		cause += " (the endpoint's last failure: " + status.Failure + ")"
	}
	if !c.isProven() {
		return absent(c.who, c.source, cause, false)
	}
	e := c.notReady(cause)
	c.blame(e, status)
	return e
}

// unanswered explains a flight that ended without an answer. It never wraps err: only a caller whose own
// context ended may see an error that matches a context's.
func (c *credential) unanswered(ctx context.Context, d *dispatch, err error, secrets ...string) error {
	if errors.Is(err, gate.ErrAbandoned) {
		return err
	}
	if own, ok := errors.AsType[*AuthenticationFailedError](err); ok && own != nil {
		return own
	}
	if v, ok := errors.AsType[crash](err); ok {
		return v.of(c.who)
	}
	if ctx.Err() != nil {
		return c.overdue()
	}
	cause := transportCause(err, secrets...)
	if !c.isProven() {
		return absent(c.who, c.source, cause+d.effort(), errors.Is(err, context.DeadlineExceeded))
	}
	if v, ok := errors.AsType[verdict](err); ok {
		return &AuthenticationFailedError{Reason: v.reason, message: c.who + ": " + v.advice}
	}
	return c.notReady(cause + d.effort())
}

// effort says how often and how long a request was tried that was tried again.
func (d *dispatch) effort() string {
	if d == nil || d.tries < 2 {
		return ""
	}
	return fmt.Sprintf(", %d tries in %v", d.tries, time.Since(d.began).Round(time.Second))
}

// absent is the error of an endpoint that isn't there. silent: that it said nothing is all that shows it.
func absent(who string, s *source, cause string, silent bool) error {
	message := fmt.Sprintf("%s: not found at %s: %s", who, s.host, cause)
	if s.doubt != "" {
		message += "; " + s.doubt
	}
	return &CredentialUnavailableError{Reason: ReasonAbsent, unanswered: cause, silent: silent, message: message}
}

func notRecognised(who string, s *source, status int) error {
	return &CredentialUnavailableError{Reason: ReasonAbsent,
		message: fmt.Sprintf("%s: what answers at %s is something else, perhaps a proxy (%s)", who, s.host, statusLine(status))}
}

func (c *credential) notReady(cause string) *AuthenticationFailedError {
	return &AuthenticationFailedError{Reason: ReasonNotReady, message: fmt.Sprintf("%s: no token from %s: %s", c.who, c.source.host, cause)}
}

// refused explains an answer that is not, or no longer, tried again.
func (c *credential) refused(req *policy.Request, resp *http.Response, d *dispatch, body []byte) error {
	secrets := secrets(req.Raw())
	a := readAnswer(resp, secrets...)
	if !c.isProven() {
		return notRecognised(c.who, c.source, a.status)
	}
	v := c.source.explain(a)
	message := fmt.Sprintf("%s: %s (%s%s)", c.who, v.advice, a, d.effort())
	if v.unavailable {
		return &CredentialUnavailableError{Reason: v.reason, message: message}
	}
	return &AuthenticationFailedError{Reason: v.reason, RetryAfter: c.gate.Status().Opens, message: message, response: responseMaker(resp, body, secrets...)}
}
