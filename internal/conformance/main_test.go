package conformance

import (
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/managedidtest"
)

var (
	full   = flag.Bool("full", false, "play every status at every source")
	update = flag.Bool("update", false, "write what is sent to testdata/wire, and with -full what comes of faults to testdata/faults.golden")
)

// TestMain runs the tests with a folder of Azure Arc's keys of their own, and fails where a goroutine of the library has
// outlived them.
func TestMain(m *testing.M) {
	ownArcFolder()
	os.Exit(testkit.Main(m))
}

// noArcFolder says why the folder of Arc's keys isn't the tests' own.
var noArcFolder string

// needArcFolder skips a test where that folder isn't. No option of a credential names another.
func needArcFolder(t testing.TB) (folder string) {
	t.Helper()
	folder = "/var/opt/azcmagent/tokens"
	switch {
	case runtime.GOOS == "windows":
		t.Setenv("ProgramData", t.TempDir())
		folder = filepath.Join(os.Getenv("ProgramData"), "AzureConnectedMachineAgent", "Tokens")
	case runtime.GOOS == "linux" && noArcFolder != "" && os.Getenv("CI") != "":
		t.Fatal(noArcFolder)
	case runtime.GOOS != "linux":
		t.Skip("there is no agent of Azure Arc for " + runtime.GOOS)
	case noArcFolder != "":
		t.Skip(noArcFolder)
	}
	return folder
}

// arcFolder is that folder, empty.
func arcFolder(t testing.TB) string {
	t.Helper()
	folder := needArcFolder(t)
	require.NoError(t, os.RemoveAll(folder))
	require.NoError(t, os.MkdirAll(folder, 0o700))
	return folder
}

// arcWith makes a credential for the agent, whose key files are in arcFolder.
func arcWith(t *testing.T, o azcore.ClientOptions, id managedid.ManagedIDKind, logger *slog.Logger) *managedid.ManagedIdentityCredential {
	t.Helper()
	setenv(t, "IDENTITY_ENDPOINT=http://localhost:40342/metadata/identity/oauth2/token", "IMDS_ENDPOINT=http://localhost:40342")
	return credentialWith(t, &managedid.ManagedIdentityCredentialOptions{ClientOptions: o, ID: id, Source: managedid.SourceAzureArc,
		Cache: managedid.NewTokenCache(nil), Logger: logger})
}

// newArc makes an emulator and a credential for it.
func newArc(t *testing.T, id managedid.ManagedIDKind, o managedidtest.Options) (*managedidtest.Emulator, *managedid.ManagedIdentityCredential, string) {
	t.Helper()
	folder := arcFolder(t)
	em := managedidtest.New(&o)
	return em, arcWith(t, azcore.ClientOptions{Transport: em}, id, nil), folder
}
