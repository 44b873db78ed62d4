package managedid

import (
	"bytes"
	"cmp"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
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

// secrets returns what the request says in its secret headers.
func secrets(req *policy.Request) (values []string) {
	for _, name := range secretHeaders {
		if v := req.Raw().Header.Get(name); v != "" {
			values = append(values, v)
		}
	}
	return values
}

// metadataClient reaches the endpoints that are local to the host: without a proxy (IMDS may not be used through one,
// says the documentation of the Instance Metadata Service), and without redirects, with which net/http would
// send a secret header onward. Requests are too rare for idle connections to be worth their goroutines.
var metadataClient = &http.Client{
	CheckRedirect: noRedirects,
	Transport: &http.Transport{
		Proxy:             nil,
		DialContext:       (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		DisableKeepAlives: true,

		MaxResponseHeaderBytes: 64 << 10,
	},
}

func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// hasOwnTransport tells whether a credential does something of its own with its requests, so that it must not
// share tokens with those that don't.
func hasOwnTransport(o *azcore.ClientOptions) bool {
	return o.Transport != nil || len(o.PerCallPolicies)+len(o.PerRetryPolicies) > 0 || !reflect.ValueOf(o.Retry).IsZero()
}

// newClient builds azcore's pipeline for a source's requests from a copy of the user's options, in which nothing can leak
// a secret, and a zero retry option has the source's default.
func newClient(options azcore.ClientOptions, who string, s *source, e *endpoint) (*azcore.Client, error) {
	o := options
	o.APIVersion = "" // azcore would refuse every request
	o.Logging.IncludeBody = false
	o.Logging.AllowedHeaders = slices.DeleteFunc(slices.Clone(o.Logging.AllowedHeaders), func(h string) bool {
		return slices.ContainsFunc(secretHeaders, func(secret string) bool { return strings.EqualFold(h, secret) })
	})
	r := &o.Retry
	r.MaxRetries = cmp.Or(r.MaxRetries, s.retry.MaxRetries)
	r.RetryDelay = cmp.Or(r.RetryDelay, s.retry.RetryDelay)
	r.MaxRetryDelay = cmp.Or(r.MaxRetryDelay, s.retry.MaxRetryDelay)
	if r.StatusCodes == nil {
		r.StatusCodes = s.retry.StatusCodes
	}
	throttle := &throttlePolicy{who: who, endpoint: e, source: s, tryTimeout: cmp.Or(r.TryTimeout, s.retry.TryTimeout)}
	r.TryTimeout = 0 // the limit begins below the gate

	if c, ok := o.Transport.(*http.Client); ok && c == nil {
		o.Transport = nil
	}
	observed := true
	switch t := o.Transport.(type) {
	case nil:
		o.Transport = cappedTransport{metadataClient}
	case *http.Client:
		c := *t
		c.CheckRedirect = noRedirects
		o.Transport = cappedTransport{&c}
		_, observed = t.Transport.(*http.Transport)
		observed = observed || t.Transport == nil
	default:
		o.Transport = cappedTransport{t}
		observed = false
	}
	if !observed {
		e.update(func(time.Time) { e.presence.patient = true })
	}
	return azcore.NewClient(modulePath, version, runtime.PipelineOptions{
		PerRetry: []policy.Policy{throttle},
		Tracing:  runtime.TracingOptions{Namespace: "Microsoft.Entra"},
	}, &o)
}

// cappedTransport reads at most maxBody of each answer, and lets no text of its errors through.
type cappedTransport struct{ policy.Transporter }

func (t cappedTransport) Do(req *http.Request) (*http.Response, error) {
	resp, err := t.Transporter.Do(req)
	if err != nil {
		return nil, transportError{err}
	} else if resp == nil || resp.Body == nil {
		return resp, nil
	}
	defer resp.Body.Close()
	if resp.ContentLength > maxBody {
		return nil, transportError{tooLargeError{}}
	}
	body, err := readCapped(resp.Body)
	if err != nil {
		return nil, transportError{err}
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
				return nil, tooLargeError{}
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

type tooLargeError struct{}

func (tooLargeError) Error() string { return "the answer is larger than 1 MiB" }
func (tooLargeError) NonRetriable() {}
