package managedid

import (
	"context"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/internal/gate"
	"github.com/managedid/managedid/internal/tokens"
)

// source is one kind of endpoint that gives tokens. It knows what the endpoint needs, and what its answers mean.
type source struct {
	name string // in errors and logs
	host string // in errors
	// doubt says why the host may have another source, for the error when the endpoint is not found. "" means no doubt.
	doubt  string
	key    identityKey
	limits gate.Config
	described
	retry     policy.RetryOptions // defaults for the user's zero fields
	announced bool                // the host's variables or the caller say that it exists, so it is there or is booting
	client    *http.Client        // used if the user's options have no Transport
	// transport returns a replacement for the user's transport, which may be nil. A nil function means that the
	// endpoint needs no transport of its own.
	transport func(policy.Transporter) (policy.Transporter, error)
	// scope checks the scopes of a request, and returns them as one scope, which names the token in the cache.
	scope func([]string) (string, error)
	// sendsClaims reports whether a request says that there was a challenge, and that the caller handles CAE.
	sendsClaims bool
	// address returns the current value of the host's variable with the endpoint's address, or "" if it is not valid.
	// Nil means that the address never changes.
	address func() string
	request func(context.Context, tokenParams) (*policy.Request, error)
	// run gets a token without an HTTP request. Nil means that request makes one.
	run func(ctx context.Context, who string, a tokenParams) (tokens.Token, error)
	// preparing describes what delays a request that is being made, and the kind of failure that this is. Nil means
	// that making a request takes no time.
	preparing func() (string, Reason)
	// followUp returns the one further request that an answer asks for, or nil if the answer is final. A nil function
	// means that every answer is final.
	followUp func(ctx context.Context, a tokenParams, sent *policy.Request, got *http.Response) (*policy.Request, error)
	// oneTime says that what an answer gave, for example a key, is valid for one request only. If the answer to that
	// request is lost, a 401 to a retry doesn't mean that the key was wrong.
	oneTime bool
	// confirm checks a successful answer before its token is used. Nil means no check.
	confirm func(body []byte) error
	// recognise reports whether an answer is the endpoint's own, and not from something else at its address. Nil means
	// that all answers are.
	recognise func(answer.Answer) bool
	// classify returns the meaning of a failed answer, and the advice for it.
	classify func(answer.Answer) verdict
}

// endpointKey names an endpoint in a cache. Sources with the same key share limits and pauses.
type endpointKey struct {
	address string // a URL, or a program's name
	tenant  string // for Entra and for a developer's tool
	client  string // for Entra the application, for a developer's tool the subscription
	proxy   string // the token proxy before the endpoint, or ""
}

// identityKey names the tokens of an identity in a cache. It has everything that changes a token, except the scope.
type identityKey struct {
	endpointKey
	source   string // the source's name
	identity string // names or proves the identity
	cae      bool   // for callers that handle continuous access evaluation
}

// recognises reports whether an answer is the endpoint's own.
func (s *source) recognises(a answer.Answer) bool { return s.recognise == nil || s.recognise(a) }

// described has the parts of a source that only Explain and logs use. Each may be empty.
type described struct {
	url       string       // the address that it requests tokens from
	evidence  string       // what shows that the host has this source
	subject   string       // the identity that it requests tokens for
	file      string       // the file that it requests tokens with
	variables []string     // the environment variables that it uses
	check     func() error // returns an error if the file can't be used
	// probeURL gives no token, and answers with 2xx if all is well. "" means url, which answers with another status.
	probeURL string
	// recogniseProbe reports whether an answer to a probe is the endpoint's own. Nil means that every answer may be.
	recogniseProbe func(answer.Answer) bool
}

// tokenParams are the parameters of a token request.
type tokenParams struct {
	scope      string // as source.scope returned it
	claims     string // a claims challenge in JSON, or ""
	challenged string // the valid token that the challenge refused, or ""
	cae        bool   // the caller handles continuous access evaluation
}

// verdict is a source's explanation of a failed answer. followUp, confirm and transports return it as an error.
type verdict struct {
	reason      Reason
	advice      string // begins the error's line, before the quoted answer
	unavailable bool   // a chain may go on
}

func (v verdict) Error() string { return v.advice }

// NonRetriable keeps azcore's retry policy from repeating a try on which a transport has given its verdict.
func (verdict) NonRetriable() {}
