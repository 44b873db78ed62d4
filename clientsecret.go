package managedid

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// ClientSecretCredentialOptions are the options of NewClientSecretCredential.
type ClientSecretCredentialOptions struct {
	// ClientOptions configures the pipeline, as in ManagedIdentityCredentialOptions. Cloud names the address of Entra.
	// Without it, the address is the value of AZURE_AUTHORITY_HOST, or else the address of the public cloud.
	azcore.ClientOptions
	// AdditionallyAllowedTenants are the tenants that a request may name besides the credential's own. "*" allows every
	// tenant. Zero means none.
	AdditionallyAllowedTenants []string
	// Cache holds the tokens. Nil means the cache of the process, or a private cache if ClientOptions has a Transport,
	// policies or retry options.
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

// ClientSecretCredential gets tokens for an application with a client secret. GetToken takes one or more scopes of one
// resource, of the form RESOURCE/.default. If the cached token was not requested with the same Claims, it requests a
// new one. A request's TenantID must be the credential's own tenant or an allowed one. A ClientSecretCredential is safe
// for concurrent use.
type ClientSecretCredential struct {
	*credential
}

var _ azcore.TokenCredential = (*ClientSecretCredential)(nil)

// GetToken returns a valid token from the cache, or else requests a new one. It takes one or more scopes of one
// resource, of the form RESOURCE/.default. Its error is an *AuthenticationFailedError, or a *CredentialUnavailableError
// if a chain may go on to its next link.
func (c *ClientSecretCredential) GetToken(
	ctx context.Context, opts policy.TokenRequestOptions,
) (azcore.AccessToken, error) {
	if c.credential == nil {
		return azcore.AccessToken{}, notMade(nameClientSecret)
	}
	return c.credential.GetToken(ctx, opts)
}

// Format prints only the name of the type, whatever the verb. The rest is secret, or changes while the credential is in
// use.
func (ClientSecretCredential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, nameClientSecret) }

func (c *ClientSecretCredential) self() azcore.TokenCredential { return c }

// NewClientSecretCredential returns a credential for an application. tenantID is the ID of the tenant or one of its
// domain names, and clientID is the application's client ID. clientSecret is the secret's value, not its ID. Nil
// options mean defaults. It sends nothing, and fails if an argument or an option is invalid.
func NewClientSecretCredential(
	tenantID, clientID, clientSecret string, options *ClientSecretCredentialOptions,
) (*ClientSecretCredential, error) {
	var o ClientSecretCredentialOptions
	if options != nil {
		o = *options
	}
	c, err := newSecretCredential(nameClientSecret,
		entraConfig{options: o.ClientOptions, tenantID: tenantID, clientID: clientID,
			allowed: o.AdditionallyAllowedTenants, cache: o.Cache, logger: o.Logger}, clientSecret)
	if err != nil {
		return nil, err
	}
	return &ClientSecretCredential{c}, nil
}

func newSecretCredential(name string, o entraConfig, secret string) (*credential, error) {
	if secret == "" {
		return nil, misconfigured(name, "the client secret is empty")
	}
	return newEntraCredential(name, o, proof{
		key:       "secret " + keyedHash(secret),
		parameter: secretParameter,
		read:      func(context.Context, string) (string, error) { return secret, nil },
	})
}
