package managedid

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"
)

// explainer is what every credential of the package is.
type explainer interface {
	azcore.TokenCredential
	fmt.Formatter
	Explain(context.Context, *ExplainOptions) ChainReport
}

func TestZeroValue_failsWithTheConstructorsNameAndPrintsItsType(t *testing.T) {
	for _, c := range []explainer{&ManagedIdentityCredential{}, &EnvironmentCredential{}, &WorkloadIdentityCredential{}, &ClientSecretCredential{},
		&ClientCertificateCredential{}, &ClientAssertionCredential{}, &AzureCLICredential{}, &AzureDeveloperCLICredential{},
		&ChainedTokenCredential{}, &DefaultAzureCredential{}} {
		name := strings.TrimPrefix(fmt.Sprintf("%T", c), "*managedid.")
		t.Run(name, func(t *testing.T) {
			_, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{vault}})
			requireError(t, err, name+": the zero value has no identity; make the credential with New"+name)
			require.Equal(t, ReasonConfiguration, ReasonOf(err))
			require.Equal(t, name+" "+name, fmt.Sprintf("%v %#v", c, c))
			report := c.Explain(t.Context(), &ExplainOptions{Probe: true})
			require.Equal(t, name, report.Credential)
			require.Equal(t, LinkIncomplete, report.Links[0].State)
			chain, err := NewChainedTokenCredential([]azcore.TokenCredential{c, c}, nil)
			require.NoError(t, err)
			require.Error(t, get(t.Context(), chain, vault).Err)
		})
	}
	require.Equal(t, "ManagedIdentityCredential", fmt.Sprint(ManagedIdentityCredential{}))
	require.Equal(t, "DefaultAzureCredential", fmt.Sprint(DefaultAzureCredential{}))
}
