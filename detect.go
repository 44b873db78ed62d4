package managedid

import (
	"cmp"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"github.com/managedid/managedid/internal/files"
)

// namedSource returns the constant that equals a name in any case, or "" if there is none.
func namedSource(name Source) Source {
	for _, s := range []Source{SourceIMDS, SourceAppService, SourceAzureArc, SourceAzureML, SourceCloudShell,
		SourceServiceFabric} {
		if strings.EqualFold(string(s), string(name)) {
			return s
		}
	}
	return ""
}

// detectSource detects the source by the environment variables that hosts set, in the order of Microsoft's libraries.
// An empty variable counts as unset. evidence says what decided.
func detectSource() (_ Source, evidence string) {
	has := func(name string) bool { return os.Getenv(name) != "" }
	switch endpoint, header := has("IDENTITY_ENDPOINT"), has("IDENTITY_HEADER"); {
	case endpoint && header && has(thumbprintVariable):
		return SourceServiceFabric, "IDENTITY_ENDPOINT, IDENTITY_HEADER and " + thumbprintVariable + " are set"
	case endpoint && header:
		return SourceAppService, "IDENTITY_ENDPOINT and IDENTITY_HEADER are set"
	case has("MSI_ENDPOINT") && has("MSI_SECRET"):
		return SourceAzureML, "MSI_ENDPOINT and MSI_SECRET are set"
	case has("MSI_ENDPOINT"):
		return SourceCloudShell, "MSI_ENDPOINT is set"
	case endpoint && has("IMDS_ENDPOINT"):
		return SourceAzureArc, "IDENTITY_ENDPOINT and IMDS_ENDPOINT are set"
	}
	if agent := arcAgent(goruntime.GOOS); files.Exists(agent) {
		return SourceAzureArc, "the file " + agent + " is there"
	}
	return SourceIMDS, cmp.Or(halfAnnounced(), noOtherSource)
}

const noOtherSource = "nothing shows another source"

// halfAnnounced names a variable of a host that is set without the variables that belong to it. Detection ignores such
// a variable.
func halfAnnounced() string {
	switch {
	case os.Getenv("IDENTITY_ENDPOINT") != "":
		return "IDENTITY_ENDPOINT is set, but neither IDENTITY_HEADER nor IMDS_ENDPOINT is"
	case os.Getenv("IDENTITY_HEADER") != "":
		return "IDENTITY_HEADER is set, but IDENTITY_ENDPOINT is not"
	case os.Getenv("MSI_SECRET") != "":
		return "MSI_SECRET is set, but MSI_ENDPOINT is not"
	}
	return ""
}

// arcAgent returns the path of the Azure Connected Machine agent's metadata service, or "" if the operating system has
// none.
func arcAgent(goos string) string {
	switch goos {
	case "linux":
		return "/opt/azcmagent/bin/himds"
	case "windows":
		if dir := os.Getenv("ProgramFiles"); dir != "" {
			return filepath.Join(dir, "AzureConnectedMachineAgent", "himds.exe")
		}
	}
	return ""
}

// Source is a kind of managed identity endpoint. Case doesn't matter. The zero value means detection by the host's
// environment.
type Source string

const (
	// SourceIMDS is the Azure Instance Metadata Service of virtual machines, scale sets, AKS nodes and others.
	SourceIMDS Source = "IMDS"
	// SourceAppService is the endpoint of App Service, Functions and Container Apps. Its version is 2019-08-01, or
	// 2017-09-01 on a host that sets only MSI_ENDPOINT and MSI_SECRET. Detection takes such a host for Azure ML, whose
	// protocol differs little.
	SourceAppService Source = "App Service"
	// SourceAzureArc is the agent of servers that are connected to Azure, on Linux and Windows.
	SourceAzureArc Source = "Azure Arc"
	// SourceAzureML is the endpoint of Azure Machine Learning's computes. The only kind of ID that it takes is a
	// ClientID. Its default identity is the one in DEFAULT_IDENTITY_CLIENT_ID.
	SourceAzureML Source = "Azure ML"
	// SourceCloudShell is the endpoint of Azure Cloud Shell. It takes no ID, because its tokens belong to the signed-in
	// user.
	SourceCloudShell Source = "Cloud Shell"
	// SourceServiceFabric is the endpoint of Service Fabric's nodes. It takes no ID, because the cluster knows the
	// identity of the application. The only certificate that it trusts is the one in IDENTITY_SERVER_THUMBPRINT. A
	// Transport must therefore be an *http.Client whose Transport is nil or an *http.Transport, with no TLS dialing or
	// verification of its own.
	SourceServiceFabric Source = "Service Fabric"
)
