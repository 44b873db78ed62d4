package conformance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/testkit"
)

// cell is what a credential of the table is made with.
type cell struct {
	options azcore.ClientOptions
	cache   *managedid.TokenCache
	logger  *slog.Logger
}

// secretRow is a credential and what it sends.
type secretRow struct {
	name     string
	sends    string // a canary that is in its requests; "": none
	inPolicy bool   // takes no transport
	make     func(t *testing.T, c cell) (azcore.TokenCredential, error)
}

const (
	never    = "\x00" // nothing is sent
	jwtBegin = "eyJ"  // of an assertion that is made on the way
)

var (
	appVariables      = []string{"IDENTITY_ENDPOINT=http://localhost:1/msi/token", "IDENTITY_HEADER=" + canaryHeader}
	mlVariables       = []string{"MSI_ENDPOINT=http://localhost:1/msi/auth", "MSI_SECRET=" + canaryMSI}
	shellVariables    = []string{"MSI_ENDPOINT=http://localhost:1/oauth2/token"}
	fabricVariables   = []string{"IDENTITY_ENDPOINT=https://localhost:1/token", "IDENTITY_HEADER=" + canaryHeader, "IDENTITY_SERVER_THUMBPRINT=" + someThumbprint}
	entraVariables    = []string{"AZURE_TENANT_ID=" + someTenant, "AZURE_CLIENT_ID=" + someClient}
	secretVariables   = append(entraVariables[:2:2], "AZURE_CLIENT_SECRET="+canarySecret)
	pfxVariables      = append(entraVariables[:2:2], "AZURE_CLIENT_CERTIFICATE_PATH="+testkit.CertificateFile("openssl3.pfx"), "AZURE_CLIENT_CERTIFICATE_PASSWORD="+testkit.CertificatePassword)
	pemVariables      = append(entraVariables[:2:2], "AZURE_CLIENT_CERTIFICATE_PATH="+testkit.CertificateFile("leaf-chain.pem"), "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN=1")
	proxyPodVariables = append(entraVariables[:2:2], "AZURE_KUBERNETES_TOKEN_PROXY=https://localhost:1", "AZURE_KUBERNETES_SNI_NAME=x.ests.aks")
)

// secretRows are all credentials of the package but those of developers' tools.
var secretRows = []secretRow{
	{"IMDS", "", false, atHost(managedid.SourceIMDS, nil)},
	{"App Service", canaryHeader, false, atHost(managedid.SourceAppService, appVariables)},
	{"App Service 2017-09-01", canaryMSI, false, atHost(managedid.SourceAppService, mlVariables)},
	{"Azure ML", canaryMSI, false, atHost(managedid.SourceAzureML, mlVariables)},
	{"Cloud Shell", "", false, atHost(managedid.SourceCloudShell, shellVariables)},
	{"Service Fabric", canaryHeader, true, atHost(managedid.SourceServiceFabric, fabricVariables)},
	{"Azure Arc", canaryArc, false, atArc(nil)},
	{"Azure Arc, a user-assigned identity", canaryArc, false, atArc(managedid.ClientID(someClient))},
	{"default chain at IMDS", "", false, byDefault(nil)},
	{"default chain at App Service", canaryHeader, false, byDefault(appVariables)},
	{"default chain at Azure ML", canaryMSI, false, byDefault(mlVariables)},
	{"default chain at Cloud Shell", "", false, byDefault(shellVariables)},
	{"default chain at Service Fabric", canaryHeader, true, byDefault(fabricVariables)},
	{"default chain with a secret", canarySecret, false, byDefault(secretVariables)},
	{"default chain with a certificate", jwtBegin, false, byDefault(pfxVariables)},
	{"default chain in a pod", canaryFederated, false, func(t *testing.T, c cell) (azcore.TokenCredential, error) {
		t.Setenv("AZURE_FEDERATED_TOKEN_FILE", federatedFile(t))
		return byDefault(entraVariables)(t, c)
	}},
	{"EnvironmentCredential with a secret", canarySecret, false, fromEnvironment(secretVariables)},
	{"EnvironmentCredential with PKCS #12", jwtBegin, false, fromEnvironment(pfxVariables)},
	{"EnvironmentCredential with PEM", jwtBegin, false, fromEnvironment(pemVariables)},
	{"ClientSecretCredential", canarySecret, false, func(t *testing.T, c cell) (azcore.TokenCredential, error) {
		return managedid.NewClientSecretCredential(someTenant, someClient, canarySecret, &managedid.ClientSecretCredentialOptions{ClientOptions: c.options, Cache: c.cache, Logger: c.logger})
	}},
	{"ClientCertificateCredential", jwtBegin, false, func(t *testing.T, c cell) (azcore.TokenCredential, error) {
		certs, key := chainAndKey(t)
		return managedid.NewClientCertificateCredential(someTenant, someClient, certs, key, &managedid.ClientCertificateCredentialOptions{ClientOptions: c.options, Cache: c.cache, Logger: c.logger, SendCertificateChain: true})
	}},
	{"ClientAssertionCredential", canaryCallback, false, calling(func() (string, error) { return canaryCallback, nil })},
	{"getAssertion that fails", never, false, calling(func() (string, error) { return "", errors.New("no use for " + canaryCallback) })},
	{"getAssertion that panics", never, false, calling(func() (string, error) { panic("no use for " + canaryCallback) })},
	{"getAssertion that is unavailable", never, false, calling(func() (string, error) {
		return "", managedid.NewCredentialUnavailableError("no use for " + canaryCallback)
	})},
	{"getAssertion that failed with a credential", never, false, calling(func() (string, error) {
		return "", fmt.Errorf("no use for %s: %w", canaryCallback, &managedid.AuthenticationFailedError{})
	})},
	{"WorkloadIdentityCredential", canaryFederated, false, inPod(entraVariables, false)},
	{"token proxy", canaryFederated, true, inPod(proxyPodVariables, true)},
	{"ChainedTokenCredential", canarySecret, false, chained(nil)},
	{"ChainedTokenCredential that retries", canarySecret, false, chained(&managedid.ChainedTokenCredentialOptions{RetrySources: true})},
}

func atHost(source managedid.Source, variables []string) func(*testing.T, cell) (azcore.TokenCredential, error) {
	return func(t *testing.T, c cell) (azcore.TokenCredential, error) {
		setenv(t, variables...)
		return managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ClientOptions: c.options, Source: source, Cache: c.cache, Logger: c.logger})
	}
}

func atArc(id managedid.ManagedIDKind) func(*testing.T, cell) (azcore.TokenCredential, error) {
	return func(t *testing.T, c cell) (azcore.TokenCredential, error) {
		return arcWith(t, c.options, id, c.logger), nil
	}
}

func byDefault(variables []string) func(*testing.T, cell) (azcore.TokenCredential, error) {
	return func(t *testing.T, c cell) (azcore.TokenCredential, error) {
		setenv(t, variables...)
		return managedid.NewDefaultAzureCredential(&managedid.DefaultAzureCredentialOptions{ClientOptions: c.options, Cache: c.cache, Logger: c.logger})
	}
}

func fromEnvironment(variables []string) func(*testing.T, cell) (azcore.TokenCredential, error) {
	return func(t *testing.T, c cell) (azcore.TokenCredential, error) {
		setenv(t, variables...)
		return managedid.NewEnvironmentCredential(&managedid.EnvironmentCredentialOptions{ClientOptions: c.options, Cache: c.cache, Logger: c.logger})
	}
}

func calling(f func() (string, error)) func(*testing.T, cell) (azcore.TokenCredential, error) {
	return func(t *testing.T, c cell) (azcore.TokenCredential, error) {
		return managedid.NewClientAssertionCredential(someTenant, someClient, func(context.Context) (string, error) { return f() },
			&managedid.ClientAssertionCredentialOptions{ClientOptions: c.options, Cache: c.cache, Logger: c.logger})
	}
}

func inPod(variables []string, proxy bool) func(*testing.T, cell) (azcore.TokenCredential, error) {
	return func(t *testing.T, c cell) (azcore.TokenCredential, error) {
		setenv(t, variables...)
		return managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{ClientOptions: c.options, Cache: c.cache, Logger: c.logger,
			TokenFilePath: federatedFile(t), EnableAzureProxy: proxy})
	}
}

func federatedFile(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "token")
	writeFile(t, path, canaryFederated+"\n")
	return path
}

// chained has an unavailable link of another package's kind first.
func chained(o *managedid.ChainedTokenCredentialOptions) func(*testing.T, cell) (azcore.TokenCredential, error) {
	return func(t *testing.T, c cell) (azcore.TokenCredential, error) {
		setenv(t, secretVariables...)
		environment, err := managedid.NewEnvironmentCredential(&managedid.EnvironmentCredentialOptions{ClientOptions: c.options, Cache: c.cache, Logger: c.logger})
		require.NoError(t, err)
		managed, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ClientOptions: c.options, Cache: c.cache, Logger: c.logger})
		require.NoError(t, err)
		return managedid.NewChainedTokenCredential([]azcore.TokenCredential{absentLink{}, environment, managed}, o)
	}
}

type absentLink struct{}

func (absentLink) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, managedid.NewCredentialUnavailableError("not here")
}

func TestSecrets_ofAFileThatCannotBeUsed(t *testing.T) {
	for _, row := range testkit.UnreadableFiles {
		bubble(t, func(t *testing.T) {
			content := string(testkit.Fixture(t, row.Files...)) + row.Data
			path := filepath.Join(t.TempDir(), "certificate")
			writeFile(t, path, content)
			certificateEnvironment(t, path, "AZURE_CLIENT_CERTIFICATE_PASSWORD=wr0ng-c4n4ry "+row.Password)
			k := newCanaries(t)
			k.add("wrong password", "wr0ng-c4n4ry")
			for line := range strings.SplitSeq(content, "\n") {
				if len(line) == 64 {
					k["file"] = append(k["file"], line)
				}
			}
			w := newWitness(t, k)
			c, err := managedid.NewEnvironmentCredential(&managedid.EnvironmentCredentialOptions{ClientOptions: w.options(), Logger: w.logger()})
			require.NoError(t, err)
			err = get(ctx0, c, vault).Err
			require.Error(t, err)
			w.showError(err)
			w.showCredential(c)
			synctest.Wait() // for the log
			w.requireSilence(t)
		})
	}
}
