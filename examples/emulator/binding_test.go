package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
)

// askProxy gets a token as a program in a pod with an identity binding does, and ends its process.
func askProxy() {
	cred, err := managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{EnableAzureProxy: true})
	if err == nil {
		_, err = cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
	}
	fmt.Println(err)
	os.Exit(0)
}

func testBindingCommand(t *testing.T, program string) {
	cmd := exec.Command(program, "-source", "identity-binding", "--", os.Args[0])
	cmd.Env = append(os.Environ(), child+"=binding", "AZURE_KUBERNETES_CA_DATA=of the machine")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Equal(t, "<nil>\n", string(out))
	require.Regexp(t, `^\S+ POST /[0-9a-f-]{36}/oauth2/v2\.0/token resource=https://vault\.azure\.net client_id=[0-9a-f-]{36} 200 identity=[0-9a-f-]{36}\n$`, stderr.String())
}
