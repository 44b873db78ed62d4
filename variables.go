package managedid

import (
	"os"
	"strconv"

	"github.com/managedid/managedid/internal/text"
)

// linkVariables are the variables that a link may use.
var linkVariables = map[string][]string{
	nameEnvironment: {"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH",
		"AZURE_CLIENT_CERTIFICATE_PASSWORD",
		"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "AZURE_AUTHORITY_HOST", "AZURE_REGIONAL_AUTHORITY_NAME"},
	nameWorkloadIdentity: {tokenFileVariable, "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_AUTHORITY_HOST",
		"AZURE_REGIONAL_AUTHORITY_NAME"},
	nameManagedIdentity: {"IDENTITY_ENDPOINT", "IDENTITY_HEADER", thumbprintVariable, "IMDS_ENDPOINT", "MSI_ENDPOINT",
		"MSI_SECRET", "AZURE_POD_IDENTITY_AUTHORITY_HOST", "AZURE_CLIENT_ID", "DEFAULT_IDENTITY_CLIENT_ID"},
}

// setOf returns the variables that are set, as Link.Variables shows them.
func setOf(variables []string) (set []string) {
	for _, name := range variables {
		value := os.Getenv(name)
		if shown := shownValue(name, value); shown != "" {
			set = append(set, name+"="+shown)
		} else if value != "" {
			set = append(set, name)
		}
	}
	return set
}

// shownValue returns a value for a report, or "" if it is secret, or is invalid and so may be a secret by mistake.
func shownValue(name, value string) string {
	mayShow := true
	switch name {
	case "IDENTITY_ENDPOINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST", "AZURE_AUTHORITY_HOST",
		tokenProxyVariable:
		return text.URL(value)
	case "AZURE_CLIENT_ID", "DEFAULT_IDENTITY_CLIENT_ID":
		mayShow = text.IsGUID(value)
	case "AZURE_TENANT_ID", tokenProxySNI:
		mayShow = validTenant(value) && !text.HasJWT(value)
	case "AZURE_REGIONAL_AUTHORITY_NAME":
		mayShow = isRegion(value)
	case "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN":
		_, err := strconv.ParseBool(value)
		mayShow = err == nil
	case thumbprintVariable:
		_, err := parsePin(value)
		mayShow = err == nil
	case tokenFileVariable, "AZURE_CLIENT_CERTIFICATE_PATH", tokenProxyCAFile:
		mayShow = value != "" && text.Path(value) != text.NotAPath
	default: // a secret, or unknown
		mayShow = false
	}
	if !mayShow {
		return ""
	}
	return text.Line(value)
}
