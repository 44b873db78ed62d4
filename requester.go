package managedid

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/managedid/managedid/internal/gate"
)

// requester requests tokens of one identity from one source. Credentials that differ only in the tokens that they hold
// share it.
type requester struct {
	name      string // the credential's type
	who       string // name and source, with which each error begins
	source    *source
	cache     *TokenCache
	gate      *gate.Gate
	client    *azcore.Client
	transport policy.Transporter // the transport of client
	log       recorder
}

// newRequester connects a source to the gate that a cache has for its endpoint.
func newRequester(
	name string, s *source, options azcore.ClientOptions, cache *TokenCache, logger *slog.Logger,
) (*requester, error) {
	r := &requester{
		name:   name,
		who:    name + ": " + s.name,
		source: s,
		cache:  cache,
		gate:   cache.gate(s.key.endpointKey, s.limits),
		log:    recorder{logger},
	}
	var err error
	r.client, r.transport, err = newPipeline(s, &retryPolicy{who: r.who, gate: r.gate, source: s, log: r.log,
		held: func(until time.Time) { cache.hold(r.gate, nil, until) }}, options)
	return r, err
}

// attributes returns the attributes of a log record that say whose token it is about.
func (r *requester) attributes() []any {
	return []any{"credential", r.name, "source", r.source.name, "identity", r.source.subject}
}

// isProven reports whether the endpoint is known to be the expected one.
func (r *requester) isProven() bool { return r.source.recognise == nil || r.gate.Status().Proven }

// copyOptions returns a copy of the options that later changes by the caller don't affect.
func copyOptions(o azcore.ClientOptions) azcore.ClientOptions {
	o.PerCallPolicies, o.PerRetryPolicies = slices.Clone(o.PerCallPolicies), slices.Clone(o.PerRetryPolicies)
	o.Logging.AllowedHeaders, o.Logging.AllowedQueryParams = slices.Clone(o.Logging.AllowedHeaders),
		slices.Clone(o.Logging.AllowedQueryParams)
	o.Retry.StatusCodes = slices.Clone(o.Retry.StatusCodes)
	if c, ok := o.Transport.(*http.Client); ok && c != nil {
		copied := *c
		o.Transport = &copied
	}
	return o
}

// newPipeline builds azcore's pipeline for a source, from a copy of the user's options in which nothing can leak a
// secret. azcore's own retry policy makes only one try, and retry runs behind it.
func newPipeline(
	s *source, retry *retryPolicy, options azcore.ClientOptions,
) (*azcore.Client, policy.Transporter, error) {
	o := copyOptions(options)
	o.APIVersion = "" // azcore would reject every request
	o.Logging.IncludeBody = false
	o.Logging.AllowedHeaders = slices.DeleteFunc(o.Logging.AllowedHeaders, func(h string) bool {
		return slices.ContainsFunc(secretHeaders, func(secret string) bool { return strings.EqualFold(h, secret) })
	})
	retry.options = resolved(o.Retry, s.retry)
	if o.Retry.RetryDelay != 0 {
		retry.pace = min(max(retry.options.RetryDelay, time.Millisecond), time.Second)
	}
	o.Retry = policy.RetryOptions{MaxRetries: -1}
	for _, policies := range [][]policy.Policy{o.PerCallPolicies, o.PerRetryPolicies} {
		for i, p := range policies {
			policies[i] = guardedPolicy{p, retry.log}
		}
	}
	if s.transport != nil {
		var err error
		if o.Transport, err = s.transport(o.Transport); err != nil {
			return nil, nil, misconfigured(retry.who, err.Error())
		}
	}
	var shown bool
	if o.Transport, shown = capped(o.Transport, s.client, retry.log); !shown {
		retry.gate.ShowConnections(false)
	}
	client, err := azcore.NewClient(modulePath, version, runtime.PipelineOptions{
		PerRetry: []policy.Policy{retry},
		Tracing:  runtime.TracingOptions{Namespace: "Microsoft.Entra"},
	}, &o)
	return client, o.Transport, err
}
