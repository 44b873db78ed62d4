package managedid

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const nameClientAssertion = "ClientAssertionCredential"

// ClientAssertionCredentialOptions are the options of NewClientAssertionCredential.
type ClientAssertionCredentialOptions struct {
	// ClientOptions configures the pipeline; see ClientSecretCredentialOptions.
	azcore.ClientOptions
	// AdditionallyAllowedTenants are tenants, besides the credential's own, whose tokens a request may name; "*" means
	// all. Zero means none.
	AdditionallyAllowedTenants []string
	// Cache holds the tokens, which no other credential is given, and what is known of the endpoint, which others share.
	// Nil means a private one.
	Cache *TokenCache
	// DisableInstanceDiscovery has no effect, since no discovery is ever requested; azidentity's code compiles.
	DisableInstanceDiscovery bool
	// Logger gets a record of each token, failed request and pause, never a secret; see the package's Logging. Nil means none.
	Logger *slog.Logger
}

// ClientAssertionCredential gets tokens for an application with assertions that a function returns: tokens of another
// issuer, which a federated credential of the application names, or JWTs signed by a certificate's key. GetToken is that of
// [ClientSecretCredential]. It is safe for concurrent use.
type ClientAssertionCredential struct {
	*credential
}

var _ azcore.TokenCredential = (*ClientAssertionCredential)(nil)

// NewClientAssertionCredential makes a credential for an application. getAssertion is called at each exchange, never at a
// cache hit, and a second time where Entra finds the assertion expired. It has to be safe for concurrent use, and to return
// when its context ends, which is not the context of any caller of GetToken. Its error's text is quoted in that of GetToken;
// a *CredentialUnavailableError makes this credential unavailable to a chain too. Pass nil for default options. Make one
// credential and keep it: two share no tokens, even with the same function.
func NewClientAssertionCredential(tenantID, clientID string, getAssertion func(context.Context) (string, error), options *ClientAssertionCredentialOptions) (*ClientAssertionCredential, error) {
	if getAssertion == nil {
		return nil, misconfigured(nameClientAssertion, "getAssertion must not be nil")
	}
	var o ClientAssertionCredentialOptions
	if options != nil {
		o = *options
	}
	if o.Cache == nil {
		o.Cache = &TokenCache{}
	}
	c, err := newEntraCredential(nameClientAssertion, entraConfig{options: o.ClientOptions, tenantID: tenantID, clientID: clientID,
		allowed: o.AdditionallyAllowedTenants, cache: o.Cache, logger: o.Logger}, callbackProof(getAssertion, recorder{o.Logger}))
	if err != nil {
		return nil, err
	}
	return &ClientAssertionCredential{c}, nil
}

// callbacks counts the functions, which can't be compared.
var callbacks atomic.Uint64

func callbackProof(getAssertion func(context.Context) (string, error), log recorder) proof {
	var last atomic.Pointer[callbackError] // nil after a success
	return proof{
		identity:  "callback " + strconv.FormatUint(callbacks.Add(1), 10),
		parameter: assertionParameter,
		read: func(ctx context.Context, _ string) (string, error) {
			assertion, err := guard(log, "getAssertion", crashedIn(ctx), func() (string, error) { return getAssertion(ctx) })
			if _, crashed := err.(crash); crashed {
				return "", err
			} else if err == nil && assertion == "" {
				err = errors.New("it returned an empty assertion")
			}
			if err != nil {
				last.Store(&callbackError{err})
				return "", callbackError{err}
			}
			last.Store(nil)
			return assertion, nil
		},
		preparing: func() (string, Reason) {
			if e := last.Load(); e != nil {
				return "while getAssertion ran, whose last error was: " + quotable(lineOf(e.error)), cmp.Or(ReasonOf(e.error), ReasonNotReady)
			}
			return "while getAssertion ran", ReasonNotReady
		},
		age: func() string { return ": getAssertion has to return one that is in force, and the clocks to agree" },
	}
}

// callbackError is why a user's function brought no assertion.
type callbackError struct{ error }

// of makes it the error of a flight, which is as passing or final as its cause.
func (e callbackError) of(who string) error {
	message := who + ": getAssertion failed: "
	if c, ok := errors.AsType[*CredentialUnavailableError](e.error); ok && c != nil {
		return &CredentialUnavailableError{Reason: c.Reason, message: message + lineOf(e.error)}
	} else if c, ok := errors.AsType[*AuthenticationFailedError](e.error); ok && c != nil {
		return &AuthenticationFailedError{Reason: c.Reason, RetryAfter: c.RetryAfter, message: message + lineOf(e.error)}
	}
	return &AuthenticationFailedError{message: message + quotable(lineOf(e.error))}
}
