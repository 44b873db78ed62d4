package managedid

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// AzureDeveloperCLICredentialOptions are the options of NewAzureDeveloperCLICredential.
type AzureDeveloperCLICredentialOptions struct {
	// AdditionallyAllowedTenants are the tenants that a request may name besides TenantID. "*" allows every tenant.
	// Without a TenantID, a request may name any tenant.
	AdditionallyAllowedTenants []string
	// Cache holds the tokens. Nil means the cache of the process.
	Cache *TokenCache
	// Logger gets a record of each token and each failure, but never the token itself. The package documentation lists
	// the records under Logging. Nil means no records.
	Logger *slog.Logger
	// TenantID is the ID of the tenant, or one of its domain names. Zero means the tool's own tenant.
	TenantID string
}

// AzureDeveloperCLICredential gets tokens from the Azure Developer CLI, in which a developer has signed in with "azd
// auth login". GetToken runs the program only if the cache has no valid token. An AzureDeveloperCLICredential is safe
// for concurrent use.
type AzureDeveloperCLICredential struct {
	*credential
}

var _ azcore.TokenCredential = (*AzureDeveloperCLICredential)(nil)

// GetToken returns a valid token from the cache, or else requests a new one. It takes one or more scopes of one
// resource, of the form RESOURCE/.default. Its error is an *AuthenticationFailedError, or a *CredentialUnavailableError
// if a chain may go on to its next link.
func (c *AzureDeveloperCLICredential) GetToken(
	ctx context.Context, opts policy.TokenRequestOptions,
) (azcore.AccessToken, error) {
	if c.credential == nil {
		return azcore.AccessToken{}, notMade(nameAzureDeveloperCLI)
	}
	return c.credential.GetToken(ctx, opts)
}

// Format prints only the name of the type, whatever the verb. The rest is secret, or changes while the credential is in
// use.
func (AzureDeveloperCLICredential) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, nameAzureDeveloperCLI)
}

func (c *AzureDeveloperCLICredential) self() azcore.TokenCredential { return c }

// NewAzureDeveloperCLICredential returns a credential that gets tokens from the Azure Developer CLI. Nil options mean
// defaults. It doesn't run the program, and fails if an option is invalid.
func NewAzureDeveloperCLICredential(options *AzureDeveloperCLICredentialOptions) (*AzureDeveloperCLICredential, error) {
	var o AzureDeveloperCLICredentialOptions
	if options != nil {
		o = *options
	}
	c, err := newAzureDeveloperCLI(o)
	if err != nil {
		return nil, err
	}
	return &AzureDeveloperCLICredential{c}, nil
}

func newAzureDeveloperCLI(o AzureDeveloperCLICredentialOptions) (*credential, error) {
	t := &tool{name: nameAzureDeveloperCLI, program: "azd", arguments: azureDeveloperCLIArguments,
		decode: decodeAzureDeveloperCLI, message: messageOfAzureDeveloperCLI}
	return newToolCredential(t, toolConfig{tenantID: o.TenantID, allowed: o.AdditionallyAllowedTenants, cache: o.Cache,
		logger: o.Logger})
}

// azureDeveloperCLIArguments returns the arguments of "azd auth token".
func azureDeveloperCLIArguments(a tokenParams, tenant string) ([]string, error) {
	arguments := []string{"auth", "token", "--output=json", "--no-prompt"}
	for _, scope := range strings.Fields(a.scope) {
		arguments = append(arguments, "--scope="+scope)
	}
	if tenant != "" {
		arguments = append(arguments, "--tenant-id="+tenant)
	}
	if a.claims != "" {
		arguments = append(arguments, "--claims="+base64.StdEncoding.EncodeToString([]byte(a.claims)))
	}
	return arguments, nil
}

func decodeAzureDeveloperCLI(output []byte) (string, time.Time, error) {
	var v struct {
		Token   string    `json:"token"`
		Expires time.Time `json:"expiresOn"` // RFC 3339
	}
	err := json.Unmarshal(output, &v)
	return v.Token, v.Expires, err
}

// messageOfAzureDeveloperCLI finds the error message in lines of JSON. Their form is {"error":"…"} since version
// 1.23.7, and {"type":"consoleMessage","data":{"message":"…"}} before that. Without such a line it returns all of
// stderr.
func messageOfAzureDeveloperCLI(stderr string) string {
	if strings.Contains(stderr, "unknown flag: --claims") {
		return "the resource asks for more than the tool's sign-in, which takes azd 1.18.1 or later"
	}
	first := ""
	for line := range bytes.Lines([]byte(stderr)) {
		var v struct {
			Error string `json:"error"`
			Data  struct {
				Message string `json:"message"`
			} `json:"data"`
		}
		if json.Unmarshal(line, &v) != nil {
			continue
		} else if v.Error != "" {
			return v.Error
		}
		if m := strings.TrimSpace(v.Data.Message); first == "" {
			first = m
		}
	}
	if first != "" {
		return first
	}
	return stderr
}
