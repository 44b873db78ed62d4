package managedid

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const nameAzureCLI = "AzureCLICredential"

// AzureCLICredentialOptions are the options of NewAzureCLICredential.
type AzureCLICredentialOptions struct {
	// AdditionallyAllowedTenants are tenants, besides TenantID, whose tokens a request may name; "*" means all. Without
	// a TenantID a request may name any.
	AdditionallyAllowedTenants []string
	// Cache holds the tokens. Nil means the cache of the process.
	Cache *TokenCache
	// Logger gets a record of each token and each failure, never a token; see the package's Logging. Nil means none.
	Logger *slog.Logger
	// Subscription is the name or ID of a subscription whose account is meant. Zero means the tool's current account.
	Subscription string
	// TenantID is the tenant's ID or a domain name of it. Zero means the tool's own.
	TenantID string
}

// AzureCLICredential gets tokens from the Azure CLI, in which a developer has signed in ("az login"). GetToken takes exactly
// one scope, and runs the program only where the cache has no token. It is safe for concurrent use.
type AzureCLICredential struct {
	*credential
}

var _ azcore.TokenCredential = (*AzureCLICredential)(nil)

// NewAzureCLICredential makes a credential that asks the Azure CLI. Pass nil for defaults. It runs nothing, and fails where
// an option can't work.
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
	if strings.ContainsFunc(o.Subscription, func(r rune) bool { return r != ' ' && (notInScope(r) || r == '/' || r == ':') }) {
		return nil, misconfigured(nameAzureCLI, "Subscription has characters other than letters, digits, space and . - _; use the subscription's ID")
	}
	t := &tool{credential: nameAzureCLI, program: "az", decode: decodeAzureCLI, explain: func(stderr string) string { return stderr },
		arguments: func(a ask, tenant string) ([]string, error) { return azureCLIArguments(a, tenant, o.Subscription) }}
	return newToolCredential(t, toolConfig{tenantID: o.TenantID, allowed: o.AdditionallyAllowedTenants, identity: o.Subscription,
		cache: o.Cache, logger: o.Logger})
}

// azureCLIArguments are those of "az account get-access-token", with a resource, since old versions know no scopes.
func azureCLIArguments(a ask, tenant, subscription string) ([]string, error) {
	if strings.Contains(a.scope, " ") {
		return nil, errors.New("GetToken needs exactly one scope")
	}
	arguments := []string{"account", "get-access-token", "--output=json", "--resource=" + strings.TrimSuffix(a.scope, defaultSuffix)}
	login := ""
	if tenant != "" {
		arguments = append(arguments, "--tenant="+tenant)
		login = " --tenant " + tenant
	}
	if subscription != "" {
		arguments = append(arguments, "--subscription="+subscription)
	}
	if a.claims != "" {
		return nil, fmt.Errorf("the resource asks for more than the tool's sign-in; run az login%s --claims-challenge %s",
			login, base64.StdEncoding.EncodeToString([]byte(a.claims)))
	}
	return arguments, nil
}

// decodeAzureCLI reads the output. Versions before 2.54 have no expires_on, but a local time.
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
