package managedid

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// maxBody is the most that is read of an answer; a token's is a few KiB.
const maxBody = 1 << 20

const identityHeader = "X-Identity-Header"

// secretHeaders are those that no log and no error shows.
var secretHeaders = []string{"Authorization", identityHeader, "Secret"}

// bodySecretsKey is the key by which a request's context has the secrets of its body, in a function, which fmt doesn't print.
type bodySecretsKey struct{}

func bodySecrets(req *http.Request) []string {
	if secrets, ok := req.Context().Value(bodySecretsKey{}).(func() []string); ok {
		return secrets()
	}
	return nil
}

// secrets returns what the request says in its secret headers, and the secrets of its body: as they are, and as they may be
// repeated in a form, in a URL and in JSON. What has three characters or less is no secret, and in too many words.
func secrets(req *http.Request) (values []string) {
	said := slices.Clone(bodySecrets(req))
	for _, name := range secretHeaders {
		said = append(said, req.Header.Get(name))
	}
	_, credential, _ := strings.Cut(req.Header.Get("Authorization"), " ") // behind its scheme
	for _, s := range append(said, credential) {
		if len(s) > 3 {
			inJSON, _ := json.Marshal(s)
			values = append(values, s, url.QueryEscape(s), url.PathEscape(s), string(inJSON[1:len(inJSON)-1]))
		}
	}
	return values
}

// metadataClient reaches the endpoints that are local to the host: without a proxy (IMDS may not be used through one,
// says the documentation of the Instance Metadata Service).
var metadataClient = newHTTPClient(nil)

// entraClient reaches Entra, through the proxy that the environment names.
var entraClient = newHTTPClient(http.ProxyFromEnvironment)

// newHTTPClient follows no redirect, with which net/http would send a secret onward. Requests are too rare for idle
// connections to be worth their goroutines, and the risk of one that has died unnoticed.
func newHTTPClient(proxy func(*http.Request) (*url.URL, error)) *http.Client {
	return &http.Client{
		CheckRedirect: noRedirects,
		Transport: &http.Transport{
			Proxy:               proxy,
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second,
			DisableKeepAlives:   true,

			MaxResponseHeaderBytes: 64 << 10,
		},
	}
}

func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// hasOwnTransport tells whether a credential does something of its own with its requests, so that it must not
// share tokens with those that don't.
func hasOwnTransport(o *azcore.ClientOptions) bool {
	return o.Transport != nil || len(o.PerCallPolicies)+len(o.PerRetryPolicies) > 0 || !reflect.ValueOf(o.Retry).IsZero()
}

// cacheFor returns the cache of a credential whose options may name one.
func cacheFor(named *TokenCache, options *azcore.ClientOptions) *TokenCache {
	if named != nil {
		return named
	} else if hasOwnTransport(options) {
		return &TokenCache{}
	}
	return &processCache
}

// copyOptions keeps what is read later as it is now.
func copyOptions(o azcore.ClientOptions) azcore.ClientOptions {
	o.PerCallPolicies, o.PerRetryPolicies = slices.Clone(o.PerCallPolicies), slices.Clone(o.PerRetryPolicies)
	o.Logging.AllowedHeaders, o.Logging.AllowedQueryParams = slices.Clone(o.Logging.AllowedHeaders), slices.Clone(o.Logging.AllowedQueryParams)
	o.Retry.StatusCodes = slices.Clone(o.Retry.StatusCodes)
	if c, ok := o.Transport.(*http.Client); ok && c != nil {
		copied := *c
		o.Transport = &copied
	}
	return o
}

// connect builds azcore's pipeline for the source's requests, from a copy of the user's options in which nothing can leak a secret.
// azcore's retry policy makes one try: ours stands behind it.
func (c *credential) connect(options azcore.ClientOptions) error {
	o, s := copyOptions(options), c.source
	o.APIVersion = "" // azcore would refuse every request
	o.Logging.IncludeBody = false
	o.Logging.AllowedHeaders = slices.DeleteFunc(o.Logging.AllowedHeaders, func(h string) bool {
		return slices.ContainsFunc(secretHeaders, func(secret string) bool { return strings.EqualFold(h, secret) })
	})
	retry := &retryPolicy{who: c.who, gate: c.gate, source: s, options: resolved(o.Retry, s.retry), log: c.log,
		held: func(until time.Time) { c.cache.hold(c.gate, nil, until) }}
	if o.Retry.RetryDelay != 0 {
		retry.pace = min(max(retry.options.RetryDelay, time.Millisecond), time.Second)
	}
	o.Retry = policy.RetryOptions{MaxRetries: -1}
	for _, policies := range [][]policy.Policy{o.PerCallPolicies, o.PerRetryPolicies} {
		for i, p := range policies {
			policies[i] = guardedPolicy{p, c.log}
		}
	}
	if s.transport != nil {
		var err error
		if o.Transport, err = s.transport(o.Transport); err != nil {
			return misconfigured(c.who, err.Error())
		}
	}
	var shown bool
	if o.Transport, shown = capped(o.Transport, s.client, c.log); !shown {
		c.gate.ShowConnections(false)
	}
	c.transport = o.Transport
	var err error
	c.client, err = azcore.NewClient(modulePath, version, runtime.PipelineOptions{
		PerRetry: []policy.Policy{retry},
		Tracing:  runtime.TracingOptions{Namespace: "Microsoft.Entra"},
	}, &o)
	return err
}

// capped wraps the user's transport, or the default. shown tells whether it shows when it has connected.
func capped(t policy.Transporter, otherwise *http.Client, log recorder) (_ policy.Transporter, shown bool) {
	switch t := t.(type) {
	case nil:
		return cappedTransport{otherwise, log}, true
	case *http.Client:
		if t == nil {
			return cappedTransport{otherwise, log}, true
		}
		c := *t
		c.CheckRedirect = noRedirects
		_, known := t.Transport.(*http.Transport)
		return cappedTransport{&c, log}, known || t.Transport == nil
	default:
		return cappedTransport{t, log}, false
	}
}

// cappedTransport reads at most maxBody of each answer, and lets no text of its errors through, nor its panics.
type cappedTransport struct {
	policy.Transporter
	log recorder
}

func (t cappedTransport) Do(req *http.Request) (*http.Response, error) {
	return guard(t.log, "the transport "+t.name(), crashedIn(req.Context()), func() (*http.Response, error) {
		req, err := withOwnBody(req)
		if err != nil {
			return nil, newTransportError(err, req)
		}
		resp, err := t.Transporter.Do(req)
		if err != nil {
			return nil, newTransportError(err, req)
		}
		if begun, ok := req.Context().Value(begunKey{}).(*atomic.Pointer[answer]); ok && resp != nil && resp.StatusCode/100 == 2 {
			begun.Store(&answer{status: resp.StatusCode, header: resp.Header.Clone()})
		}
		return download(resp, req)
	})
}

// begunKey is the key by which a context has the place for the head of an answer, whose body may take too long.
type begunKey struct{}

// name is the type of what the user gave.
func (t cappedTransport) name() string {
	if c, ok := t.Transporter.(*http.Client); ok && c.Transport != nil {
		return fmt.Sprintf("%T", c.Transport)
	}
	return fmt.Sprintf("%T", t.Transporter)
}

// withOwnBody copies the body, since azcore's GetBody rewinds the one that net/http may still be reading, where an answer
// is a redirect or the connection has died.
func withOwnBody(req *http.Request) (*http.Request, error) {
	if req.Body == nil {
		return req, nil
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return req, err
	}
	req = req.WithContext(req.Context())
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Body, err = req.GetBody()
	return req, err
}

// download reads the body while the request's context lives. Of the rest, which azcore logs and traces, it takes the request's
// secrets out.
func download(resp *http.Response, req *http.Request) (*http.Response, error) {
	if resp == nil {
		return nil, errNothing
	} else if resp.Body == nil {
		return resp, nil
	}
	defer resp.Body.Close()
	if secrets := secrets(req); len(secrets) > 0 {
		resp.Status = redacted(resp.Status, secrets...)
		for _, values := range resp.Header {
			for i, v := range values {
				values[i] = redacted(v, secrets...)
			}
		}
	}
	var body []byte
	err := errTooLarge
	if resp.ContentLength <= maxBody {
		body, err = readCapped(resp.Body)
	}
	if err != nil && resp.StatusCode/100 == 2 {
		e := newTransportError(err, req)
		e.begun = &answer{status: resp.StatusCode, header: resp.Header}
		return nil, e
	} else if err != nil { // a refusal stands, whatever became of its text
		body, resp.ContentLength = nil, 0
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// readCapped reads at most maxBody, and never allocates more than twice that on the way.
func readCapped(r io.Reader) ([]byte, error) {
	body := make([]byte, 0, 8<<10)
	for {
		if len(body) == maxBody {
			if n, _ := io.ReadFull(r, make([]byte, 1)); n > 0 {
				return nil, errTooLarge
			}
			return body, nil
		}
		if len(body) == cap(body) {
			body = append(make([]byte, 0, 2*len(body)), body...)
		}
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF {
			return body, nil
		} else if err != nil {
			return nil, err
		}
	}
}

var errTooLarge error = verdict{reason: ReasonMalformedAnswer, advice: "the answer is larger than 1 MiB"}
