package managedid

import (
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const nameEnvironment = "EnvironmentCredential"

// environmentLink reports what the environment configures: an application with a secret or a certificate. It is
// meant to be used when one of the variables that only it reads is set; AZURE_TENANT_ID and AZURE_CLIENT_ID also
// belong to workload identity.
func environmentLink() azcore.TokenCredential {
	proof := ""
	for _, v := range []string{"AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH"} {
		if proof == "" && os.Getenv(v) != "" {
			proof = v
		}
	}
	if proof == "" {
		message := "neither AZURE_CLIENT_SECRET nor AZURE_CLIENT_CERTIFICATE_PATH is set"
		if os.Getenv("AZURE_USERNAME") != "" {
			message += " (AZURE_USERNAME is, but signing in with a password is not supported)"
		}
		return notConfigured(nameEnvironment, message)
	}
	if missing := unset("AZURE_TENANT_ID", "AZURE_CLIENT_ID"); len(missing) > 0 {
		return misconfigured(nameEnvironment, proof+" is set, but not "+strings.Join(missing, " and "))
	}
	return misconfigured(nameEnvironment, "AZURE_TENANT_ID, AZURE_CLIENT_ID and "+proof+
		" are set, but this version can't exchange them for a token yet")
}
