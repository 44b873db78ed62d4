package managedid

import (
	"log/slog"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const nameEnvironment = "EnvironmentCredential"

// EnvironmentCredentialOptions are the options of NewEnvironmentCredential.
type EnvironmentCredentialOptions struct {
	// ClientOptions configures the pipeline; see ClientSecretCredentialOptions.
	azcore.ClientOptions
	// Cache holds the tokens. Nil means the cache of the process, or a private one where ClientOptions has a
	// Transport, policies or retry options.
	Cache *TokenCache
	// DisableInstanceDiscovery has no effect, since no discovery is ever requested; azidentity's code compiles.
	DisableInstanceDiscovery bool
	// Logger gets a record of each token, failed request and pause, never a secret; see the package's Logging. Nil means none.
	Logger *slog.Logger
}

// EnvironmentCredential gets tokens for the application that environment variables describe,
// with a client secret or else a certificate:
//
//   - AZURE_TENANT_ID, the tenant's ID or a domain name of it
//   - AZURE_CLIENT_ID, the application's client ID
//   - AZURE_CLIENT_SECRET, the value of a client secret; where it is set, the certificate is not used
//   - AZURE_CLIENT_CERTIFICATE_PATH, the path of a file in PEM or PKCS #12 with a certificate and its private key, as
//     [ParseCertificates] takes it; the file is read at each exchange, never at a cache hit, so that a new one may replace it
//   - AZURE_CLIENT_CERTIFICATE_PASSWORD, the password of that file; optional
//   - AZURE_CLIENT_SEND_CERTIFICATE_CHAIN, "1" or "true" to send all the file's certificates with each request, as
//     authentication by subject name and issuer needs it; optional
//   - AZURE_AUTHORITY_HOST, the address of Entra; optional, the public cloud's without it
//   - AZURE_REGIONAL_AUTHORITY_NAME, the name of a region whose token service is asked instead; optional, and for
//     applications of Microsoft's own
//   - AZURE_ADDITIONALLY_ALLOWED_TENANTS, other tenants whose tokens a request may name, separated by semicolons; "*"
//     means all; optional
//
// An empty variable counts as unset. GetToken is that of [ClientSecretCredential]. It is safe for concurrent use.
type EnvironmentCredential struct {
	*credential
}

var _ azcore.TokenCredential = (*EnvironmentCredential)(nil)

// NewEnvironmentCredential makes a credential of the variables' present values. Pass nil for defaults. It neither sends
// nor reads anything. Where nothing in the environment is meant for it, the error is a *CredentialUnavailableError; any
// other error says what is missing or wrong.
func NewEnvironmentCredential(options *EnvironmentCredentialOptions) (*EnvironmentCredential, error) {
	var o EnvironmentCredentialOptions
	if options != nil {
		o = *options
	}
	return newEnvironmentCredential(entraConfig{options: o.ClientOptions, cache: o.Cache, logger: o.Logger, allowed: allowedTenants(nil)})
}

// newEnvironmentCredential is configured when one of the variables that only it reads is set; AZURE_TENANT_ID and
// AZURE_CLIENT_ID also belong to workload identity.
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
			path: absolute(certificate), password: os.Getenv("AZURE_CLIENT_CERTIFICATE_PASSWORD"), chain: chain == "1" || strings.EqualFold(chain, "true")}))
	}
	if err != nil {
		return nil, err
	}
	return &EnvironmentCredential{c}, nil
}

// unset returns those of the variables that have no value.
func unset(variables ...string) (missing []string) {
	for _, v := range variables {
		if os.Getenv(v) == "" {
			missing = append(missing, v)
		}
	}
	return missing
}
