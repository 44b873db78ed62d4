package managedid

import (
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const nameWorkloadIdentity = "WorkloadIdentityCredential"

// workloadIdentityLink reports what the webhook of Kubernetes' workload identity configures. It is meant to be used
// when AZURE_FEDERATED_TOKEN_FILE, which only it reads, is set. The tenant of the options replaces AZURE_TENANT_ID.
func workloadIdentityLink(tenantID string) azcore.TokenCredential {
	if os.Getenv("AZURE_FEDERATED_TOKEN_FILE") == "" {
		return notConfigured(nameWorkloadIdentity, "AZURE_FEDERATED_TOKEN_FILE is not set")
	}
	needed := []string{"AZURE_CLIENT_ID"}
	if tenantID == "" {
		needed = append(needed, "AZURE_TENANT_ID")
	}
	if missing := unset(needed...); len(missing) > 0 {
		return misconfigured(nameWorkloadIdentity, "AZURE_FEDERATED_TOKEN_FILE is set, but not "+strings.Join(missing, " and "))
	}
	return misconfigured(nameWorkloadIdentity, "it is configured, but this version can't exchange the federated token yet")
}
