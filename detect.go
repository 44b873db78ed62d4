package managedid

import (
	"cmp"
	"os"
	"path/filepath"
	goruntime "runtime"
)

// detectSource looks at the variables that hosts set, in the order that Microsoft's libraries have agreed on, and says what decided.
// An empty variable counts as unset.
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
	if agent := arcAgent(goruntime.GOOS); isFile(agent) {
		return SourceAzureArc, "the file " + agent + " is there"
	}
	return SourceIMDS, cmp.Or(halfAnnounced(), noOtherSource)
}

const noOtherSource = "nothing shows another source"

// halfAnnounced names a variable of a host that is set without those that belong to it, so that it counts for nothing.
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

// arcAgent is the path of the Azure Connected Machine agent's metadata service, "" where there is none.
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

func isFile(path string) bool {
	_, err := os.Stat(path)
	return path != "" && err == nil
}
