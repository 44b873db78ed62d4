package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
)

// askProxy requests a token like a program in a pod with an identity binding, with or without EnableAzureProxy. It runs
// in a process of its own, and ends it.
func askProxy(optedIn bool) {
	options := managedid.WorkloadIdentityCredentialOptions{EnableAzureProxy: optedIn}
	cred, err := managedid.NewWorkloadIdentityCredential(&options)
	if err == nil {
		request := policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}}
		_, err = cred.GetToken(context.Background(), request)
	}
	fmt.Println(err)
	os.Exit(0)
}

func testBindingCommand(t *testing.T, program string) {
	for _, row := range []struct{ name, child, output, answer string }{
		{"opted in", "binding", `<nil>`, `200 identity=[0-9a-f-]{36}`},
		{"not opted in", "no binding", `.*; set EnableAzureProxy in the options of a WorkloadIdentityCredential ` +
			`\(401 Unauthorized, .*AADSTS700212: .*`, `401`},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.child != "binding" && runtime.GOOS != "linux" {
				t.Skip("Go reads SSL_CERT_FILE on Linux")
			}
			cmd := exec.Command(program, "-source", "identity-binding", "--", os.Args[0])
			cmd.Env = append(os.Environ(), child+"="+row.child, "AZURE_KUBERNETES_CA_DATA=of the machine")
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			require.NoError(t, err)
			require.Regexp(t, `^`+row.output+`\n$`, string(out))
			require.Regexp(t, `^\S+ POST /[0-9a-f-]{36}/oauth2/v2\.0/token `+
				`resource=https://vault\.azure\.net client_id=[0-9a-f-]{36} `+row.answer+`\n$`, stderr.String())
		})
	}
}
