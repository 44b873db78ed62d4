package managedid

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid/internal/files"
)

// EnvironmentCredentialOptions are the options of NewEnvironmentCredential.
type EnvironmentCredentialOptions struct {
	// ClientOptions configures the pipeline, as in ClientSecretCredentialOptions.
	azcore.ClientOptions
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

// EnvironmentCredential gets tokens for the application that environment variables describe, with a client secret or
// else a certificate:
//
//   - AZURE_TENANT_ID, the ID of the tenant or one of its domain names
//   - AZURE_CLIENT_ID, the application's client ID
//   - AZURE_CLIENT_SECRET, the value of a client secret; if it is set, the certificate is not used
//   - AZURE_CLIENT_CERTIFICATE_PATH, the path of a file with a certificate and its private key, in PEM or PKCS #12 as
//     [ParseCertificates] takes it; each token request reads the file, so a new one may replace it
//   - AZURE_CLIENT_CERTIFICATE_PASSWORD, the password of that file; optional
//   - AZURE_CLIENT_SEND_CERTIFICATE_CHAIN, "1" or "true" to send all the certificates of the file with each request,
//     which authentication by subject name and issuer needs; optional
//   - AZURE_AUTHORITY_HOST, the address of Entra; optional, by default that of the public cloud
//   - AZURE_REGIONAL_AUTHORITY_NAME, the name of a region whose token service gets the requests; optional, and only for
//     Microsoft's own applications
//   - AZURE_ADDITIONALLY_ALLOWED_TENANTS, other tenants that a request may name, separated by semicolons, "*" for all;
//     optional
//
// An empty variable counts as unset. GetToken takes the same arguments as that of [ClientSecretCredential]. An
// EnvironmentCredential is safe for concurrent use.
type EnvironmentCredential struct {
	*credential
}

var _ azcore.TokenCredential = (*EnvironmentCredential)(nil)

// GetToken returns a valid token from the cache, or else requests a new one. It takes one or more scopes of one
// resource, of the form RESOURCE/.default. Its error is an *AuthenticationFailedError, or a *CredentialUnavailableError
// if a chain may go on to its next link.
func (c *EnvironmentCredential) GetToken(
	ctx context.Context, opts policy.TokenRequestOptions,
) (azcore.AccessToken, error) {
	if c.credential == nil {
		return azcore.AccessToken{}, notMade(nameEnvironment)
	}
	return c.credential.GetToken(ctx, opts)
}

// Format prints only the name of the type, whatever the verb. The rest is secret, or changes while the credential is in
// use.
func (EnvironmentCredential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, nameEnvironment) }

func (c *EnvironmentCredential) self() azcore.TokenCredential { return c }

// NewEnvironmentCredential returns a credential for the current values of the variables. Nil options mean defaults. It
// sends nothing and reads no file. If neither a secret nor a certificate is set, the error is a
// *CredentialUnavailableError. Any other error says what is missing or wrong.
func NewEnvironmentCredential(options *EnvironmentCredentialOptions) (*EnvironmentCredential, error) {
	var o EnvironmentCredentialOptions
	if options != nil {
		o = *options
	}
	return newEnvironmentCredential(entraConfig{options: o.ClientOptions, cache: o.Cache, logger: o.Logger,
		allowed: allowedTenants(nil)})
}

// newEnvironmentCredential fails as not configured if neither a secret nor a certificate is set. AZURE_TENANT_ID and
// AZURE_CLIENT_ID don't count, because workload identity uses them too.
func newEnvironmentCredential(o entraConfig) (*EnvironmentCredential, error) {
	secret, certificate := os.Getenv("AZURE_CLIENT_SECRET"), os.Getenv("AZURE_CLIENT_CERTIFICATE_PATH")
	set := "AZURE_CLIENT_SECRET"
	switch {
	case secret == "" && certificate == "":
		message := "neither AZURE_CLIENT_SECRET nor AZURE_CLIENT_CERTIFICATE_PATH is set"
		if os.Getenv("AZURE_USERNAME") != "" {
			message += " (AZURE_USERNAME is, but signing in with a password is not supported)"
		}
		return nil, notConfigured(nameEnvironment, message)
	case secret == "":
		set = "AZURE_CLIENT_CERTIFICATE_PATH"
	}
	if missing := unset("AZURE_TENANT_ID", "AZURE_CLIENT_ID"); len(missing) > 0 {
		return nil, misconfigured(nameEnvironment, set+" is set, but not "+strings.Join(missing, " and "))
	}
	o.tenantID, o.clientID = os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID")
	o.variables = []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID", set}
	if secret == "" {
		o.variables = append(o.variables, "AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN")
	}
	var c *credential
	var err error
	if secret != "" {
		c, err = newSecretCredential(nameEnvironment, o, secret)
	} else {
		chain := os.Getenv("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN")
		c, err = newEntraCredential(nameEnvironment, o, certificateFileProof(&o, certificateFile{
			path: files.Absolute(certificate), password: os.Getenv("AZURE_CLIENT_CERTIFICATE_PASSWORD"),
			chain: chain == "1" || strings.EqualFold(chain, "true")}))
	}
	if err != nil {
		return nil, err
	}
	return &EnvironmentCredential{c}, nil
}

// unset returns the variables that have no value.
func unset(variables ...string) (missing []string) {
	for _, v := range variables {
		if os.Getenv(v) == "" {
			missing = append(missing, v)
		}
	}
	return missing
}
