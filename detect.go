package managedid

import (
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
	switch agent := arcAgent(goruntime.GOOS); {
	case isFile(agent):
		return SourceAzureArc, "the file " + agent + " is there"
	case os.Getenv("IDENTITY_ENDPOINT") != "":
		return SourceIMDS, "IDENTITY_ENDPOINT is set, but neither IDENTITY_HEADER nor IMDS_ENDPOINT"
	}
	return SourceIMDS, "nothing shows another source"
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
