package managedid

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid/internal/text"
)

// ClientAssertionCredentialOptions are the options of NewClientAssertionCredential.
type ClientAssertionCredentialOptions struct {
	// ClientOptions configures the pipeline, as in ClientSecretCredentialOptions.
	azcore.ClientOptions
	// AdditionallyAllowedTenants are the tenants that a request may name besides the credential's own. "*" allows every
	// tenant. Zero means none.
	AdditionallyAllowedTenants []string
	// Cache holds the tokens and the state of the endpoint. Other credentials with this cache share the state, but
	// never the tokens. Nil means a private cache.
	Cache *TokenCache
	// DisableInstanceDiscovery has no effect.
	//
	// Deprecated: this package never requests instance discovery. The field exists so that code for azidentity
	// compiles.
	DisableInstanceDiscovery bool
	// Logger gets a record of each token, each failed request and each pause, but never a secret. The package
	// documentation lists the records under Logging. Nil means no records.
	Logger *slog.Logger
}

// ClientAssertionCredential gets tokens for an application with assertions that a function returns. An assertion is a
// token of another issuer that a federated credential of the application trusts, or a JWT signed with a certificate's
// key. Its GetToken takes the same arguments as that of [ClientSecretCredential]. A ClientAssertionCredential is safe
// for concurrent use.
type ClientAssertionCredential struct {
	*credential
}

var _ azcore.TokenCredential = (*ClientAssertionCredential)(nil)

// GetToken returns a valid token from the cache, or else requests a new one. It takes one or more scopes of one
// resource, of the form RESOURCE/.default. Its error is an *AuthenticationFailedError, or a *CredentialUnavailableError
// if a chain may go on to its next link.
func (c *ClientAssertionCredential) GetToken(
	ctx context.Context, opts policy.TokenRequestOptions,
) (azcore.AccessToken, error) {
	if c.credential == nil {
		return azcore.AccessToken{}, notMade(nameClientAssertion)
	}
	return c.credential.GetToken(ctx, opts)
}

// Format prints only the name of the type, whatever the verb. The rest is secret, or changes while the credential is in
// use.
func (ClientAssertionCredential) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, nameClientAssertion)
}

func (c *ClientAssertionCredential) self() azcore.TokenCredential { return c }

// NewClientAssertionCredential returns a credential for an application. Nil options mean defaults. Make one credential
// and keep it: two credentials share no tokens, even with the same function.
//
// getAssertion is called for each token request, never for a cache hit, and again if Entra finds the assertion expired.
// It must be safe for concurrent use, and must return when its context ends. That context is not the context of any
// caller of GetToken. The error of GetToken quotes the text of its error. A *CredentialUnavailableError from it makes
// this credential unavailable, so that a chain goes on.
func NewClientAssertionCredential(
	tenantID, clientID string, getAssertion func(context.Context) (string, error),
	options *ClientAssertionCredentialOptions,
) (*ClientAssertionCredential, error) {
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
	c, err := newEntraCredential(nameClientAssertion,
		entraConfig{options: o.ClientOptions, tenantID: tenantID, clientID: clientID,
			allowed: o.AdditionallyAllowedTenants, cache: o.Cache, logger: o.Logger},
		callbackProof(getAssertion, recorder{o.Logger}))
	if err != nil {
		return nil, err
	}
	return &ClientAssertionCredential{c}, nil
}

// callbacks numbers the functions, because functions can't be compared.
var callbacks atomic.Uint64

func callbackProof(getAssertion func(context.Context) (string, error), log recorder) proof {
	var last atomic.Pointer[callbackError] // the last call's error; nil after a success
	return proof{
		key:       "callback " + strconv.FormatUint(callbacks.Add(1), 10),
		parameter: assertionParameter,
		read: func(ctx context.Context, _ string) (string, error) {
			assertion, err := guard(log, "getAssertion", crashedIn(ctx), func() (string, error) {
				return getAssertion(ctx)
			})
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
				return "while getAssertion ran, whose last error was: " + text.Quote(lineOf(e.error)),
					cmp.Or(ReasonOf(e.error), ReasonNotReady)
			}
			return "while getAssertion ran", ReasonNotReady
		},
		age: func() string { return ": getAssertion has to return one that is in force, and the clocks to agree" },
	}
}

// callbackError is the error of a getAssertion that returned no assertion.
type callbackError struct{ error }

// failure returns the error of the token request. Its type and Reason are those of the cause.
func (e callbackError) failure(who string) error {
	message := who + ": getAssertion failed: "
	if c, ok := asType[*CredentialUnavailableError](e.error); ok && c != nil {
		return &CredentialUnavailableError{Reason: c.Reason, message: message + lineOf(e.error)}
	} else if c, ok := asType[*AuthenticationFailedError](e.error); ok && c != nil {
		return &AuthenticationFailedError{Reason: c.Reason, RetryAfter: c.RetryAfter,
			message: message + lineOf(e.error)}
	}
	return &AuthenticationFailedError{message: message + text.Quote(lineOf(e.error))}
}
