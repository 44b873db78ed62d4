package managedid

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid/internal/files"
	"github.com/managedid/managedid/internal/text"
)

// WorkloadIdentityCredentialOptions are the options of NewWorkloadIdentityCredential.
type WorkloadIdentityCredentialOptions struct {
	// ClientOptions configures the pipeline, as in ClientSecretCredentialOptions.
	azcore.ClientOptions
	// AdditionallyAllowedTenants are the tenants that a request may name besides the credential's own. "*" allows every
	// tenant. Zero means none.
	AdditionallyAllowedTenants []string
	// Cache holds the tokens. Nil means the cache of the process, or a private cache if ClientOptions has a Transport,
	// policies or retry options.
	Cache *TokenCache
	// ClientID is the client ID of the application or the user-assigned managed identity. Zero means the value of
	// AZURE_CLIENT_ID.
	ClientID string
	// DisableInstanceDiscovery has no effect.
	//
	// Deprecated: this package never requests instance discovery. The field exists so that code for azidentity
	// compiles.
	DisableInstanceDiscovery bool
	// EnableAzureProxy sends requests to the token proxy of AKS's identity bindings, a preview feature, if the pod has
	// one. The address is in AZURE_KUBERNETES_TOKEN_PROXY. Its certificate must be valid for the name in
	// AZURE_KUBERNETES_SNI_NAME, and be signed by a certificate in AZURE_KUBERNETES_CA_FILE, which is read for each
	// request, or AZURE_KUBERNETES_CA_DATA. A Transport in ClientOptions then has no effect. False means that requests
	// go to Entra, which refuses the token of such a pod. No chain enables it.
	EnableAzureProxy bool
	// Logger gets a record of each token, each failed request and each pause, but never a secret. The package
	// documentation lists the records under Logging. Nil means no records.
	Logger *slog.Logger
	// TenantID is the ID of the tenant, or one of its domain names. Zero means the value of AZURE_TENANT_ID.
	TenantID string
	// TokenFilePath is the path of the file with the token of the service account. Zero means the value of
	// AZURE_FEDERATED_TOKEN_FILE.
	TokenFilePath string
}

// WorkloadIdentityCredential gets tokens for the identity that trusts a Kubernetes service account through a federated
// credential. It works on AKS, where the webhook of workload identity sets the variables, and on any other cluster.
// Each token request reads the token file, because the cluster replaces it. GetToken takes the same arguments as that
// of [ClientSecretCredential]. A WorkloadIdentityCredential is safe for concurrent use.
type WorkloadIdentityCredential struct {
	*credential
}

var _ azcore.TokenCredential = (*WorkloadIdentityCredential)(nil)

// GetToken returns a valid token from the cache, or else requests a new one. It takes one or more scopes of one
// resource, of the form RESOURCE/.default. Its error is an *AuthenticationFailedError, or a *CredentialUnavailableError
// if a chain may go on to its next link.
func (c *WorkloadIdentityCredential) GetToken(
	ctx context.Context, opts policy.TokenRequestOptions,
) (azcore.AccessToken, error) {
	if c.credential == nil {
		return azcore.AccessToken{}, notMade(nameWorkloadIdentity)
	}
	return c.credential.GetToken(ctx, opts)
}

// Format prints only the name of the type, whatever the verb. The rest is secret, or changes while the credential is in
// use.
func (WorkloadIdentityCredential) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, nameWorkloadIdentity)
}

func (c *WorkloadIdentityCredential) self() azcore.TokenCredential { return c }

// NewWorkloadIdentityCredential returns a credential for the identity of a pod. Nil options mean defaults. It sends
// nothing. It reads no file, except the certificates of the token proxy with EnableAzureProxy. If no token file is
// named, the error is a *CredentialUnavailableError. Any other error says what is missing or wrong.
func NewWorkloadIdentityCredential(options *WorkloadIdentityCredentialOptions) (*WorkloadIdentityCredential, error) {
	var o WorkloadIdentityCredentialOptions
	if options != nil {
		o = *options
	}
	path, named := o.TokenFilePath, "TokenFilePath"
	if path == "" {
		path, named = os.Getenv(tokenFileVariable), tokenFileVariable
	}
	if path == "" {
		problem := named + " is not set"
		if os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
			problem += "; if this pod is meant to have it, see that it was made with the label " +
				"azure.workload.identity/use: \"true\""
		}
		return nil, notConfigured(nameWorkloadIdentity, problem)
	}
	config := entraConfig{options: o.ClientOptions, tenantID: cmp.Or(o.TenantID, os.Getenv("AZURE_TENANT_ID")),
		clientID: cmp.Or(o.ClientID, os.Getenv("AZURE_CLIENT_ID")), allowed: o.AdditionallyAllowedTenants,
		cache: o.Cache, logger: o.Logger}
	if path != o.TokenFilePath {
		config.variables = append(config.variables, named)
	}
	var missing []string
	for _, v := range []struct{ value, option, variable string }{{config.clientID, "ClientID", "AZURE_CLIENT_ID"},
		{config.tenantID, "TenantID", "AZURE_TENANT_ID"}} {
		if v.value != "" && v.value == os.Getenv(v.variable) {
			config.variables = append(config.variables, v.variable)
		} else if v.value == "" && path == o.TokenFilePath {
			missing = append(missing, v.option+" or "+v.variable)
		} else if v.value == "" {
			missing = append(missing, v.variable)
		}
	}
	if len(missing) > 0 {
		return nil, misconfigured(nameWorkloadIdentity, named+" is set, but not "+strings.Join(missing, " and "))
	}
	if o.EnableAzureProxy {
		var err error
		if config.proxy, err = newTokenProxy(); err != nil {
			return nil, misconfigured(nameWorkloadIdentity, err.Error())
		}
		config.variables = append(config.variables, tokenProxyVariable, tokenProxySNI, tokenProxyCAFile,
			tokenProxyCAData)
	}
	c, err := newEntraCredential(nameWorkloadIdentity, config, fileProof(named, path))
	if err != nil {
		return nil, err
	}
	return &WorkloadIdentityCredential{c}, nil
}

// fileProof returns the proof by an assertion in a file that is replaced while the program runs. named is the option or
// variable that names the file.
func fileProof(named, path string) proof {
	path = files.Absolute(path)
	return proof{
		key:       fmt.Sprintf("file %q", path),
		file:      text.Path(path),
		parameter: assertionParameter,
		preparing: func() (string, Reason) { return "while the token file was waited for", ReasonNotReady },
		read: func(ctx context.Context, _ string) (string, error) {
			assertion, err := awaitTokenFile(ctx, path)
			if err != nil {
				err = fmt.Errorf("the token file %s, from %s, can't be used: %w", text.Path(path), named, err)
			}
			return assertion, err
		},
		age: func() string {
			info, err := os.Stat(path)
			if err != nil {
				return ""
			}
			return fmt.Sprintf(": the token file was written %s ago; see that the cluster still replaces it, and "+
				"that the clocks agree", max(0, time.Since(info.ModTime())).Truncate(time.Minute))
		},
	}
}

// awaitTokenFile reads the file. While it is missing or empty, it tries again for three seconds.
func awaitTokenFile(ctx context.Context, path string) (string, error) {
	return files.Await(ctx, func() (string, error) { return readTokenFile(path) })
}

// maxTokenFile is the largest size of a token file in bytes. An HTTP endpoint takes less, and the token of a service
// account has about 1 KiB.
const maxTokenFile = 64 << 10

func readTokenFile(path string) (string, error) {
	content, err := files.Read(path, maxTokenFile)
	assertion := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if err == nil && strings.TrimSpace(assertion) == "" {
		err = files.ErrEmpty
	}
	return assertion, err
}
