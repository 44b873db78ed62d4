package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/managedidtest"
)

// arcMachine is a machine of the test's own, with the agent's folders and port. It reports false where the test is over.
func arcMachine(t *testing.T) bool {
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs the program ip, of Debian's package iproute2")
	}
	if !testkit.InChild(t, testkit.AsUser(0, syscall.CLONE_NEWNS|syscall.CLONE_NEWNET)) {
		return false
	}
	for _, dir := range []string{"/var/opt", "/opt"} {
		if err := syscall.Mount("none", dir, "tmpfs", 0, ""); err != nil {
			t.Skipf("nothing can be mounted here: %v", err)
		}
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Skipf("there's no loopback here: %s", out)
	}
	return true
}

func TestArc_atItsRealPlaces(t *testing.T) {
	if !arcMachine(t) {
		return
	}
	user := managedidtest.Identity{ClientID: someGUID}
	s := newServer(t, managedidtest.Arc, &managedidtest.Options{Addr: "127.0.0.1:40342", UserAssigned: []managedidtest.Identity{user}})
	c, err := managedid.NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	require.NoError(t, get(ctx0, c, vault).Err, "by the variables")
	require.Equal(t, "/arc/metadata/identity/oauth2/token", s.Requests()[0].Path)

	blankEnvironment(t)
	require.NoError(t, os.MkdirAll("/opt/azcmagent/bin", 0o700))
	require.NoError(t, os.WriteFile("/opt/azcmagent/bin/himds", nil, 0o700))
	byFile, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ID: managedid.ClientID(someGUID)})
	require.NoError(t, err)
	require.NoError(t, get(ctx0, byFile, vault).Err, "by the file")
	requests := s.Requests()
	require.Len(t, requests, 4)
	require.Equal(t, "/metadata/identity/oauth2/token", requests[2].Path)
	require.Equal(t, someGUID, requests[3].Identity)
	files, err := os.ReadDir("/var/opt/azcmagent/tokens")
	require.NoError(t, err)
	require.Empty(t, files)

	outside := filepath.Join(t.TempDir(), "shadow")
	require.NoError(t, os.WriteFile(outside, []byte("not for the agent"), 0o600))
	require.NoError(t, os.Symlink(outside, "/var/opt/azcmagent/tokens/link.key"))
	s.Inject(managedidtest.Fault{Endpoint: managedidtest.Arc, Header: map[string][]string{"Www-Authenticate": {"Basic realm=/var/opt/azcmagent/tokens/link.key"}}})
	err = get(ctx0, byFile, "https://storage.azure.com/.default").Err
	require.Equal(t, managedid.ReasonConfiguration, asCredentialError(t, err))
	require.Len(t, s.Requests(), 5)
}
