package managedid

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

const selectorVariable = "AZURE_TOKEN_CREDENTIALS"

// DefaultAzureCredentialOptions are the options of NewDefaultAzureCredential.
type DefaultAzureCredentialOptions struct {
	// ClientOptions configures the pipeline of each link; see ManagedIdentityCredentialOptions.
	azcore.ClientOptions
	// AdditionallyAllowedTenants are tenants, besides the configured one, whose tokens a request may name; "*" means
	// all. It concerns environment and workload identity. Zero means the value of AZURE_ADDITIONALLY_ALLOWED_TENANTS,
	// separated by semicolons.
	AdditionallyAllowedTenants []string
	// Cache holds the tokens of each link. Nil means the cache of the process, or private ones where ClientOptions has
	// a Transport, policies or retry options.
	Cache *TokenCache
	// DisableInstanceDiscovery has no effect, since no discovery is ever requested; azidentity's code compiles.
	DisableInstanceDiscovery bool
	// Logger gets a record when a link is chosen, and what each link logs, never a secret. Nil means none.
	Logger *slog.Logger
	// ManagedIdentityClientID is the client ID of a user-assigned identity of the host. Zero means the value of
	// AZURE_CLIENT_ID or, without that, the host's default identity.
	ManagedIdentityClientID string
	// RequireAzureTokenCredentials makes the constructor fail unless AZURE_TOKEN_CREDENTIALS has a value.
	RequireAzureTokenCredentials bool
	// TenantID is the tenant of workload identity and of developers' tools. Zero means the value of AZURE_TENANT_ID for
	// the one, and the tool's own for the others.
	TenantID string
}

// DefaultAzureCredential asks, in turn, the environment, workload identity and the host's managed identity, and stays
// with the first that gives a token. The variable AZURE_TOKEN_CREDENTIALS selects: "prod" means these three, "dev" the
// developers' tools az and azd, which are never run otherwise, and the name of a credential type, in any case, that one
// alone: EnvironmentCredential, WorkloadIdentityCredential, ManagedIdentityCredential, AzureCLICredential or
// AzureDeveloperCLICredential. It is safe for concurrent use.
type DefaultAzureCredential struct {
	chain    *ChainedTokenCredential
	selected string // by AZURE_TOKEN_CREDENTIALS
}

var _ azcore.TokenCredential = (*DefaultAzureCredential)(nil)

// Format prints the type alone, with every verb: the rest changes while the credential is in use.
func (c *DefaultAzureCredential) Format(f fmt.State, verb rune) { c.chain.Format(f, verb) }

// NewDefaultAzureCredential makes the default chain. Pass nil for defaults. It sends nothing, and fails only where
// AZURE_TOKEN_CREDENTIALS can't be followed: a link's own trouble shows when GetToken comes to it.
func NewDefaultAzureCredential(options *DefaultAzureCredentialOptions) (*DefaultAzureCredential, error) {
	var o DefaultAzureCredentialOptions
	if options != nil {
		o = *options
	}
	selected := os.Getenv(selectorVariable)
	names, err := selectedLinks(selected, o.RequireAzureTokenCredentials)
	if err != nil {
		return nil, misconfigured("DefaultAzureCredential", err.Error())
	}
	allowed := allowedTenants(o.AdditionallyAllowedTenants)
	var links []azcore.TokenCredential
	for _, name := range names {
		switch name {
		case nameEnvironment:
			c, err := newEnvironmentCredential(entraConfig{options: o.ClientOptions, cache: o.Cache, logger: o.Logger, allowed: allowed})
			links = append(links, linkOf(c, err))
		case nameWorkloadIdentity:
			c, err := NewWorkloadIdentityCredential(&WorkloadIdentityCredentialOptions{ClientOptions: o.ClientOptions,
				AdditionallyAllowedTenants: allowed, Cache: o.Cache, Logger: o.Logger, TenantID: o.TenantID})
			links = append(links, linkOf(c, err))
		case nameManagedIdentity:
			links = append(links, managedIdentityLink(&o))
		case nameAzureCLI:
			c, err := newAzureCLI(AzureCLICredentialOptions{AdditionallyAllowedTenants: allowed, Cache: o.Cache, Logger: o.Logger, TenantID: o.TenantID})
			links = append(links, toolLinkOf(c, err, len(names) > 1))
		case nameAzureDeveloperCLI:
			c, err := newAzureDeveloperCLI(AzureDeveloperCLICredentialOptions{AdditionallyAllowedTenants: allowed, Cache: o.Cache, Logger: o.Logger, TenantID: o.TenantID})
			links = append(links, toolLinkOf(c, err, len(names) > 1))
		}
	}
	chain, err := NewChainedTokenCredential(links, nil)
	if err != nil {
		return nil, err
	}
	chain.name, chain.log = "DefaultAzureCredential", recorder{o.Logger}
	if slices.Contains(names, nameManagedIdentity) {
		chain.hint = "to use a developer's sign-in, set " + selectorVariable + "=dev; on a laptop without one, run the program beside the emulator"
	}
	return &DefaultAzureCredential{chain, selected}, nil
}

// GetToken returns a token for a scope, from the cache where that has a valid one. Where a link is configured and
// refused, the error is that link's *AuthenticationFailedError; where none is available, a *CredentialUnavailableError.
func (c *DefaultAzureCredential) GetToken(ctx context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if t := c.chain.hit(&opts); t != nil {
		return t.AccessToken, nil
	}
	return c.chain.GetToken(ctx, opts)
}

func (c *DefaultAzureCredential) inChain() azcore.TokenCredential { return c.chain.inChain() }

// selectedLinks reads AZURE_TOKEN_CREDENTIALS as azidentity does, but takes an empty value as unset.
func selectedLinks(value string, required bool) ([]string, error) {
	prod := []string{nameEnvironment, nameWorkloadIdentity, nameManagedIdentity}
	dev := []string{nameAzureCLI, nameAzureDeveloperCLI}
	switch {
	case value == "" && required:
		return nil, fmt.Errorf("%s must be set, since RequireAzureTokenCredentials is true", selectorVariable)
	case value == "" || value == "prod":
		return prod, nil
	case value == "dev":
		return dev, nil
	case strings.EqualFold(value, "AzurePowerShellCredential"):
		return nil, fmt.Errorf("%s selects Azure PowerShell, which is not supported; sign in with az or azd and select %s",
			selectorVariable, strings.Join(dev, " or "))
	}
	all := append(prod, dev...)
	for _, name := range all {
		if strings.EqualFold(value, name) {
			return []string{name}, nil
		}
	}
	return nil, fmt.Errorf("%s has an unknown value; known are prod, dev, %s", selectorVariable, strings.Join(all, ", "))
}

// toolLinkOf makes the link of a developer's tool; one of several gives way to the next whatever its trouble.
func toolLinkOf(c *credential, err error, several bool) azcore.TokenCredential {
	if err == nil && several {
		return toolLink{c}
	}
	return linkOf(c, err)
}

func managedIdentityLink(o *DefaultAzureCredentialOptions) azcore.TokenCredential {
	const variable = "AZURE_CLIENT_ID"
	m := &ManagedIdentityCredentialOptions{ClientOptions: o.ClientOptions, Cache: o.Cache, Logger: o.Logger}
	id := cmp.Or(o.ManagedIdentityClientID, os.Getenv(variable))
	if id != "" {
		m.ID = ClientID(id)
	}
	c, err := NewManagedIdentityCredential(m)
	if err == nil && o.ManagedIdentityClientID == "" {
		c.source.variables = append(c.source.variables, variable)
	}
	return linkOf(c, err)
}

// failingLink stands for a credential that can't work, and says why when the chain comes to it.
type failingLink struct{ err error }

func (l failingLink) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, copyError(l.err)
}

func (l failingLink) inChain() azcore.TokenCredential { return l }

// notConfigured is the error of a credential for which nothing is set.
func notConfigured(name, message string) error {
	return &CredentialUnavailableError{Reason: ReasonConfiguration, message: name + ": " + message}
}

// linkOf stands in for a credential that couldn't be made. One that is meant to work and can't ends the search: going on
// would bring another identity.
func linkOf(c azcore.TokenCredential, err error) azcore.TokenCredential {
	if err == nil {
		return c
	} else if _, ok := errors.AsType[*CredentialUnavailableError](err); ok {
		return failingLink{err}
	}
	return failingLink{&AuthenticationFailedError{Reason: ReasonConfiguration,
		message: fmt.Sprintf("%s; to skip this credential, set %s to the name of another", lineOf(err), selectorVariable)}}
}
