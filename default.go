package managedid

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// DefaultAzureCredentialOptions are the options of NewDefaultAzureCredential.
type DefaultAzureCredentialOptions struct {
	// ClientOptions configures the pipeline of each link, as in ManagedIdentityCredentialOptions.
	azcore.ClientOptions
	// AdditionallyAllowedTenants are the tenants that a request may name besides the configured one. "*" allows every
	// tenant. It has an effect on environment, workload identity and the developers' tools. Zero means the value of
	// AZURE_ADDITIONALLY_ALLOWED_TENANTS, a list separated by semicolons.
	AdditionallyAllowedTenants []string
	// Cache holds the tokens of each link. Nil means the cache of the process, or private caches if ClientOptions has a
	// Transport, policies or retry options.
	Cache *TokenCache
	// DisableInstanceDiscovery has no effect.
	//
	// Deprecated: this package never requests instance discovery. The field exists so that code for azidentity
	// compiles.
	DisableInstanceDiscovery bool
	// Logger gets a record when the chain chooses a link, and the records of each link, but never a secret. Nil means
	// no records.
	Logger *slog.Logger
	// ManagedIdentityClientID is the client ID of a user-assigned identity of the host. Zero means the value of
	// AZURE_CLIENT_ID, or else the host's default identity.
	ManagedIdentityClientID string
	// RequireAzureTokenCredentials makes the constructor fail unless AZURE_TOKEN_CREDENTIALS has a value.
	RequireAzureTokenCredentials bool
	// TenantID is the tenant of workload identity and of the developers' tools. Zero means the value of AZURE_TENANT_ID
	// for workload identity, and the tool's own tenant for a tool.
	TenantID string
}

// DefaultAzureCredential asks the environment, workload identity and the host's managed identity in turn, and stays
// with the first that gives a token. The environment variable AZURE_TOKEN_CREDENTIALS selects other links:
//
//   - "prod" selects these three.
//   - "dev" selects the developers' tools az and azd, which never run otherwise.
//   - The name of a credential type selects only that one, in upper or lower case: EnvironmentCredential,
//     WorkloadIdentityCredential, ManagedIdentityCredential, AzureCLICredential or AzureDeveloperCLICredential.
//
// A DefaultAzureCredential is safe for concurrent use.
type DefaultAzureCredential struct {
	chain    *ChainedTokenCredential
	selected string // the value of AZURE_TOKEN_CREDENTIALS
}

var _ azcore.TokenCredential = (*DefaultAzureCredential)(nil)

// Format prints only the name of the type, whatever the verb. The rest changes while the credential is in use.
func (c DefaultAzureCredential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, nameDefault) }

// NewDefaultAzureCredential returns the default chain. Nil options mean defaults. It sends nothing, and fails only if
// AZURE_TOKEN_CREDENTIALS is invalid, or missing although required. If a link can't work, GetToken returns its error.
func NewDefaultAzureCredential(options *DefaultAzureCredentialOptions) (*DefaultAzureCredential, error) {
	var o DefaultAzureCredentialOptions
	if options != nil {
		o = *options
	}
	selected := os.Getenv(selectorVariable)
	names, err := selectedLinks(selected, o.RequireAzureTokenCredentials)
	if err != nil {
		return nil, misconfigured(nameDefault, err.Error())
	}
	allowed := allowedTenants(o.AdditionallyAllowedTenants)
	var links []azcore.TokenCredential
	for _, name := range names {
		switch name {
		case nameEnvironment:
			c, err := newEnvironmentCredential(entraConfig{options: o.ClientOptions, cache: o.Cache,
				logger: o.Logger, allowed: allowed})
			links = append(links, linkOf(c, err))
		case nameWorkloadIdentity:
			c, err := NewWorkloadIdentityCredential(&WorkloadIdentityCredentialOptions{ClientOptions: o.ClientOptions,
				AdditionallyAllowedTenants: allowed, Cache: o.Cache, Logger: o.Logger, TenantID: o.TenantID})
			links = append(links, linkOf(c, err))
		case nameManagedIdentity:
			links = append(links, managedIdentityLink(&o))
		case nameAzureCLI:
			c, err := newAzureCLI(AzureCLICredentialOptions{AdditionallyAllowedTenants: allowed, Cache: o.Cache,
				Logger: o.Logger, TenantID: o.TenantID})
			links = append(links, toolLinkOf(c, &AzureCLICredential{c}, err, len(names) > 1))
		case nameAzureDeveloperCLI:
			c, err := newAzureDeveloperCLI(AzureDeveloperCLICredentialOptions{AdditionallyAllowedTenants: allowed,
				Cache: o.Cache, Logger: o.Logger, TenantID: o.TenantID})
			links = append(links, toolLinkOf(c, &AzureDeveloperCLICredential{c}, err, len(names) > 1))
		}
	}
	hint := ""
	if slices.Contains(names, nameManagedIdentity) {
		hint = "to use a developer's sign-in, set " + selectorVariable +
			"=dev; on a laptop without one, run the program beside the emulator"
	}
	return &DefaultAzureCredential{newChain(nameDefault, links, ChainedTokenCredentialOptions{Logger: o.Logger}, hint),
		selected}, nil
}

// GetToken returns a token for a scope, from the cache if that has a valid one. If a link is configured and fails, the
// error is that link's *AuthenticationFailedError. If no link is available, it is a *CredentialUnavailableError.
func (c *DefaultAzureCredential) GetToken(
	ctx context.Context, opts policy.TokenRequestOptions,
) (azcore.AccessToken, error) {
	if c.chain == nil {
		return azcore.AccessToken{}, notMade(nameDefault)
	}
	if t := c.chain.hit(&opts); t != nil {
		return t.AccessToken, nil
	}
	return c.chain.GetToken(ctx, opts)
}

func (c *DefaultAzureCredential) self() azcore.TokenCredential { return c }

func (c *DefaultAzureCredential) inChain() azcore.TokenCredential {
	if c.chain == nil {
		return c
	}
	return c.chain.inChain()
}

// selectedLinks returns the links that the value of AZURE_TOKEN_CREDENTIALS selects, as in azidentity. Unlike there, an
// empty value counts as unset.
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
		return nil, fmt.Errorf("%s selects Azure PowerShell, which is not supported; sign in with az or azd and "+
			"select %s", selectorVariable, strings.Join(dev, " or "))
	}
	all := append(prod, dev...)
	for _, name := range all {
		if strings.EqualFold(value, name) {
			return []string{name}, nil
		}
	}
	return nil, fmt.Errorf("%s has an unknown value; known are prod, dev, %s", selectorVariable,
		strings.Join(all, ", "))
}

// toolLinkOf returns the link of a developer's tool. If there are several links, any failure of the tool makes the
// chain go on.
func toolLinkOf(c *credential, alone azcore.TokenCredential, err error, several bool) azcore.TokenCredential {
	if err == nil && several {
		return &toolLink{c}
	}
	return linkOf(alone, err)
}

func managedIdentityLink(o *DefaultAzureCredentialOptions) azcore.TokenCredential {
	const variable = "AZURE_CLIENT_ID"
	m := ManagedIdentityCredentialOptions{ClientOptions: o.ClientOptions, Cache: o.Cache, Logger: o.Logger}
	if id := cmp.Or(o.ManagedIdentityClientID, os.Getenv(variable)); id != "" {
		m.ID = ClientID(id)
	}
	var variables []string
	if o.ManagedIdentityClientID == "" {
		variables = []string{variable}
	}
	c, err := newManagedCredential(m, variables...)
	if err != nil {
		return linkOf(nil, err)
	}
	return &ManagedIdentityCredential{c}
}

// failingLink stands for a credential that couldn't be made. Its GetToken returns the reason.
type failingLink struct{ err error }

func (l *failingLink) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, copyError(l.err)
}

func (l *failingLink) self() azcore.TokenCredential { return l }

func (l *failingLink) inChain() azcore.TokenCredential { return l }

// linkOf returns the link of a credential, or a failingLink if the credential couldn't be made. A credential that is
// configured but invalid ends the search, because a later link would give the token of another identity.
func linkOf(c azcore.TokenCredential, err error) azcore.TokenCredential {
	if err == nil {
		return c
	} else if _, ok := asType[*CredentialUnavailableError](err); ok {
		return &failingLink{err}
	}
	return &failingLink{&AuthenticationFailedError{Reason: ReasonConfiguration,
		message: fmt.Sprintf("%s; to skip this credential, set %s to the name of another", lineOf(err),
			selectorVariable)}}
}
