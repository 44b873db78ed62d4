package managedid

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const (
	nameWorkloadIdentity = "WorkloadIdentityCredential"
	tokenFileVariable    = "AZURE_FEDERATED_TOKEN_FILE"
)

// WorkloadIdentityCredentialOptions are the options of NewWorkloadIdentityCredential.
type WorkloadIdentityCredentialOptions struct {
	// ClientOptions configures the pipeline; see ClientSecretCredentialOptions.
	azcore.ClientOptions
	// AdditionallyAllowedTenants are tenants, besides the credential's own, whose tokens a request may name; "*" means
	// all. Zero means none.
	AdditionallyAllowedTenants []string
	// Cache holds the tokens. Nil means the cache of the process, or a private one where ClientOptions has a
	// Transport, policies or retry options.
	Cache *TokenCache
	// ClientID is that of the application or the user-assigned managed identity. Zero means the value of AZURE_CLIENT_ID.
	ClientID string
	// DisableInstanceDiscovery has no effect, since no discovery is ever requested; azidentity's code compiles.
	DisableInstanceDiscovery bool
	// EnableAzureProxy sends requests to the token proxy of AKS's identity bindings, a preview feature, where the pod has one: the
	// address in AZURE_KUBERNETES_TOKEN_PROXY, verified for the name in AZURE_KUBERNETES_SNI_NAME with the certificates in
	// AZURE_KUBERNETES_CA_FILE, which is read for each request, or AZURE_KUBERNETES_CA_DATA. A Transport in the ClientOptions has
	// no effect then. Zero means straight to Entra, which refuses the token of such a pod. No chain enables it.
	EnableAzureProxy bool
	// Logger gets a record of each token, failed request and pause, never a secret; see the package's Logging. Nil means none.
	Logger *slog.Logger
	// TenantID is the tenant's ID or a domain name of it. Zero means the value of AZURE_TENANT_ID.
	TenantID string
	// TokenFilePath is the path of the file with the service account's token. Zero means the value of
	// AZURE_FEDERATED_TOKEN_FILE.
	TokenFilePath string
}

// WorkloadIdentityCredential gets tokens for the identity that a Kubernetes service account is federated with: on AKS,
// where the webhook of workload identity sets the variables, and on any other cluster. The token file is read at each
// exchange, never at a cache hit, since the cluster replaces it while the program runs. GetToken is that of
// [ClientSecretCredential]. It is safe for concurrent use.
type WorkloadIdentityCredential struct {
	*credential
}

var _ azcore.TokenCredential = (*WorkloadIdentityCredential)(nil)

// NewWorkloadIdentityCredential makes a credential for the identity of a pod. Pass nil for defaults. It sends nothing,
// and reads nothing but, with EnableAzureProxy, the certificates that the proxy is trusted by. Where no token file is named, the error is a *CredentialUnavailableError; any other error says what
// is missing or wrong.
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
			problem += "; if this pod is meant to have it, see that it was made with the label azure.workload.identity/use: \"true\""
		}
		return nil, notConfigured(nameWorkloadIdentity, problem)
	}
	config := entraConfig{options: o.ClientOptions, tenantID: cmp.Or(o.TenantID, os.Getenv("AZURE_TENANT_ID")),
		clientID: cmp.Or(o.ClientID, os.Getenv("AZURE_CLIENT_ID")), allowed: o.AdditionallyAllowedTenants, cache: o.Cache, logger: o.Logger}
	if path != o.TokenFilePath {
		config.variables = append(config.variables, named)
	}
	var missing []string
	for _, v := range []struct{ value, option, variable string }{{config.clientID, "ClientID", "AZURE_CLIENT_ID"}, {config.tenantID, "TenantID", "AZURE_TENANT_ID"}} {
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
		config.variables = append(config.variables, tokenProxyVariable, tokenProxySNI, tokenProxyCAFile, tokenProxyCAData)
	}
	c, err := newEntraCredential(nameWorkloadIdentity, config, fileProof(named, path))
	if err != nil {
		return nil, err
	}
	return &WorkloadIdentityCredential{c}, nil
}

// fileProof is the assertion in a file that is replaced while the program runs.
func fileProof(named, path string) proof {
	path = absolute(path)
	return proof{
		identity:  fmt.Sprintf("file %q", path),
		file:      shownPath(path),
		parameter: assertionParameter,
		preparing: func() (string, Reason) { return "while the token file was waited for", ReasonNotReady },
		read: func(ctx context.Context, _ string) (string, error) {
			assertion, err := awaitTokenFile(ctx, path)
			if err != nil {
				err = fmt.Errorf("the token file %s, from %s, can't be used: %w", shownPath(path), named, err)
			}
			return assertion, err
		},
		age: func() string {
			info, err := os.Stat(path)
			if err != nil {
				return ""
			}
			return fmt.Sprintf(": the token file was written %s ago; see that the cluster still replaces it, and that the clocks agree",
				max(0, time.Since(info.ModTime())).Truncate(time.Minute))
		},
	}
}

// absolute returns the path under which a file stays the same one, and has one name in a cache.
func absolute(path string) string {
	if p, err := filepath.Abs(path); err == nil {
		return p
	}
	return path
}

// awaitTokenFile reads the file, and for three seconds again where it is missing or empty.
func awaitTokenFile(ctx context.Context, path string) (string, error) {
	return awaitFile(ctx, func() (string, error) { return readTokenFile(path) })
}

// awaitFile reads, and for three seconds again where a file is missing or unfinished: it may be in the middle of its
// replacement.
func awaitFile[T any](ctx context.Context, read func() (T, error)) (T, error) {
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		content, err := read()
		_, unfinished := errors.AsType[unfinishedError](err)
		passing := unfinished || errors.Is(err, fs.ErrNotExist)
		if !passing || pause > 2*time.Second || ctx.Err() != nil {
			return content, err
		}
		wait(ctx, nil, nil, time.Now().Add(pause))
	}
}

// unfinishedError is what a file looks like that isn't written to its end, among other reasons.
type unfinishedError string

func (e unfinishedError) Error() string { return string(e) }

const errEmpty = unfinishedError("it is empty")

// maxTokenFile is more than an HTTP endpoint takes; a service account's token has about 1 KiB.
const maxTokenFile = 64 << 10

func readTokenFile(path string) (string, error) {
	content, err := readRegular(path, maxTokenFile)
	assertion := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if err == nil && strings.TrimSpace(assertion) == "" {
		err = errEmpty
	}
	return assertion, err
}

// readRegular reads a file of at most limit bytes, and waits for no pipe's writer. Its errors don't name the file.
func readRegular(path string, limit int64) ([]byte, error) {
	return readSame(nil, path, limit)
}

// readSame is readRegular of the file that was seen at the path before, or of any where that is nil.
func readSame(seen fs.FileInfo, path string, limit int64) ([]byte, error) {
	if shownPath(path) == notAPath { // but the file's content, perhaps
		return nil, errors.New("it is not a path")
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	var content []byte
	if err == nil {
		defer f.Close()
		if info, e := f.Stat(); e == nil && !info.Mode().IsRegular() {
			return nil, errors.New("it is not a regular file")
		} else if seen != nil && (e != nil || !os.SameFile(seen, info)) {
			return nil, errors.New("it was replaced while it was being opened")
		}
		content, err = io.ReadAll(io.LimitReader(f, limit+1))
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	if int64(len(content)) > limit {
		err = fmt.Errorf("it is larger than %d bytes", limit)
	}
	return content, err
}
