package managedid

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const nameAzureDeveloperCLI = "AzureDeveloperCLICredential"

// AzureDeveloperCLICredentialOptions are the options of NewAzureDeveloperCLICredential.
type AzureDeveloperCLICredentialOptions struct {
	// AdditionallyAllowedTenants are tenants, besides TenantID, whose tokens a request may name; "*" means all. Without
	// a TenantID a request may name any.
	AdditionallyAllowedTenants []string
	// Cache holds the tokens. Nil means the cache of the process.
	Cache *TokenCache
	// Logger gets a record of each token and each failure, never a token; see the package's Logging. Nil means none.
	Logger *slog.Logger
	// TenantID is the tenant's ID or a domain name of it. Zero means the tool's own.
	TenantID string
}

// AzureDeveloperCLICredential gets tokens from the Azure Developer CLI, in which a developer has signed in ("azd auth
// login"). GetToken runs the program only where the cache has no token. It is safe for concurrent use.
type AzureDeveloperCLICredential struct {
	*credential
}

var _ azcore.TokenCredential = (*AzureDeveloperCLICredential)(nil)

// NewAzureDeveloperCLICredential makes a credential that asks the Azure Developer CLI. Pass nil for defaults. It runs
// nothing, and fails where an option can't work.
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
	t := &tool{credential: nameAzureDeveloperCLI, program: "azd", arguments: azureDeveloperCLIArguments, decode: decodeAzureDeveloperCLI, explain: explainAzureDeveloperCLI}
	return newToolCredential(t, toolConfig{tenantID: o.TenantID, allowed: o.AdditionallyAllowedTenants, cache: o.Cache, logger: o.Logger})
}

// azureDeveloperCLIArguments are those of "azd auth token".
func azureDeveloperCLIArguments(a ask, tenant string) ([]string, error) {
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

// explainAzureDeveloperCLI finds the message in lines of JSON: {"error":"…"} since version 1.23.7, before that
// {"type":"consoleMessage","data":{"message":"…"}}.
func explainAzureDeveloperCLI(stderr string) string {
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
