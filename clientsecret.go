package managedid

import (
	"context"
	"log/slog"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const nameClientSecret = "ClientSecretCredential"

// ClientSecretCredentialOptions are the options of NewClientSecretCredential.
type ClientSecretCredentialOptions struct {
	// ClientOptions configures the pipeline, as in ManagedIdentityCredentialOptions. Cloud names the address of Entra;
	// without it, that is the value of AZURE_AUTHORITY_HOST, or the public cloud's.
	azcore.ClientOptions
	// AdditionallyAllowedTenants are tenants, besides the credential's own, whose tokens a request may name; "*" means
	// all. Zero means none.
	AdditionallyAllowedTenants []string
	// Cache holds the tokens. Nil means the cache of the process, or a private one where ClientOptions has a
	// Transport, policies or retry options.
	Cache *TokenCache
	// DisableInstanceDiscovery has no effect, since no discovery is ever requested; azidentity's code compiles.
	DisableInstanceDiscovery bool
	// Logger gets a record of each token, failed request and pause, never a secret; see the package's Logging. Nil means none.
	Logger *slog.Logger
}

// ClientSecretCredential gets tokens for an application with a client secret. GetToken takes one or more scopes of one
// resource, of the form RESOURCE/.default. Claims that the cached token wasn't asked for with make a new request.
// TenantID has to be the credential's own or an allowed one. It is safe for concurrent use.
type ClientSecretCredential struct {
	*credential
}

var _ azcore.TokenCredential = (*ClientSecretCredential)(nil)

// NewClientSecretCredential makes a credential for an application. The tenant is given by its ID or a domain name, the
// application by its client ID; the secret is its value, not its ID. Pass nil for default options. It sends nothing, and
// fails where an argument or an option can't work.
func NewClientSecretCredential(tenantID, clientID, clientSecret string, options *ClientSecretCredentialOptions) (*ClientSecretCredential, error) {
	var o ClientSecretCredentialOptions
	if options != nil {
		o = *options
	}
	c, err := newSecretCredential(nameClientSecret, entraConfig{options: o.ClientOptions, tenantID: tenantID, clientID: clientID,
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
		identity:  "secret " + keyedHash(secret),
		parameter: secretParameter,
		read:      func(context.Context, string) (string, error) { return secret, nil },
	})
}
