package managedid

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// AzureCLICredentialOptions are the options of NewAzureCLICredential.
type AzureCLICredentialOptions struct {
	// AdditionallyAllowedTenants are the tenants that a request may name besides TenantID. "*" allows every tenant.
	// Without a TenantID, a request may name any tenant.
	AdditionallyAllowedTenants []string
	// Cache holds the tokens. Nil means the cache of the process.
	Cache *TokenCache
	// Logger gets a record of each token and each failure, but never the token itself. The package documentation lists
	// the records under Logging. Nil means no records.
	Logger *slog.Logger
	// Subscription is the name or ID of a subscription, and selects the account that is signed in to it. Zero means the
	// tool's current account.
	Subscription string
	// TenantID is the ID of the tenant, or one of its domain names. Zero means the tool's own tenant.
	TenantID string
}

// AzureCLICredential gets tokens from the Azure CLI, in which a developer has signed in with "az login". GetToken takes
// exactly one scope, and runs the program only if the cache has no valid token. An AzureCLICredential is safe for
// concurrent use.
type AzureCLICredential struct {
	*credential
}

var _ azcore.TokenCredential = (*AzureCLICredential)(nil)

// GetToken returns a valid token from the cache, or else requests a new one. It takes exactly one scope. Its error is
// an *AuthenticationFailedError, or a *CredentialUnavailableError if a chain may go on to its next link.
func (c *AzureCLICredential) GetToken(
	ctx context.Context, opts policy.TokenRequestOptions,
) (azcore.AccessToken, error) {
	if c.credential == nil {
		return azcore.AccessToken{}, notMade(nameAzureCLI)
	}
	return c.credential.GetToken(ctx, opts)
}

// Format prints only the name of the type, whatever the verb. The rest is secret, or changes while the credential is in
// use.
func (AzureCLICredential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, nameAzureCLI) }

func (c *AzureCLICredential) self() azcore.TokenCredential { return c }

// NewAzureCLICredential returns a credential that gets tokens from the Azure CLI. Nil options mean defaults. It doesn't
// run the program, and fails if an option is invalid.
func NewAzureCLICredential(options *AzureCLICredentialOptions) (*AzureCLICredential, error) {
	var o AzureCLICredentialOptions
	if options != nil {
		o = *options
	}
	c, err := newAzureCLI(o)
	if err != nil {
		return nil, err
	}
	return &AzureCLICredential{c}, nil
}

func newAzureCLI(o AzureCLICredentialOptions) (*credential, error) {
	if strings.ContainsFunc(o.Subscription,
		func(r rune) bool { return r != ' ' && (notInScope(r) || r == '/' || r == ':') }) {
		return nil, misconfigured(nameAzureCLI,
			"Subscription has characters other than letters, digits, space and . - _; use the subscription's ID")
	}
	t := &tool{name: nameAzureCLI, program: "az", decode: decodeAzureCLI,
		message: func(stderr string) string { return stderr },
		arguments: func(a tokenParams, tenant string) ([]string, error) {
			return azureCLIArguments(a, tenant, o.Subscription)
		}}
	return newToolCredential(t, toolConfig{tenantID: o.TenantID, allowed: o.AdditionallyAllowedTenants,
		subscription: o.Subscription, cache: o.Cache, logger: o.Logger})
}

// azureCLIArguments returns the arguments of "az account get-access-token". They name a resource, because old versions
// don't know scopes.
func azureCLIArguments(a tokenParams, tenant, subscription string) ([]string, error) {
	if strings.Contains(a.scope, " ") {
		return nil, errors.New("GetToken needs exactly one scope")
	}
	arguments := []string{"account", "get-access-token", "--output=json",
		"--resource=" + strings.TrimSuffix(a.scope, defaultSuffix)}
	login := ""
	if tenant != "" {
		arguments = append(arguments, "--tenant="+tenant)
		login = " --tenant " + tenant
	}
	if subscription != "" {
		arguments = append(arguments, "--subscription="+subscription)
	}
	if a.claims != "" {
		return nil, fmt.Errorf("the resource asks for more than the tool's sign-in; run az login%s "+
			"--claims-challenge %s", login, base64.StdEncoding.EncodeToString([]byte(a.claims)))
	}
	return arguments, nil
}

// decodeAzureCLI reads the program's output. Versions before 2.54 have no expires_on, only an expiry in local time.
func decodeAzureCLI(output []byte) (string, time.Time, error) {
	var v struct {
		AccessToken string `json:"accessToken"`
		Unix        int64  `json:"expires_on"`
		Local       string `json:"expiresOn"`
	}
	if err := json.Unmarshal(output, &v); err != nil || v.Unix != 0 {
		return v.AccessToken, time.Unix(v.Unix, 0), err
	}
	expires, err := time.ParseInLocation("2006-01-02 15:04:05.999999", v.Local, time.Local)
	return v.AccessToken, expires, err
}
