package managedid

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/testkit"
)

func TestArcKeys_whoMayNotReadThemIsToldTheGroup(t *testing.T) {
	if !testkit.InChild(t, testkit.AsUser(1000, 0)) { // not as root, who may read all files
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "k.key")
	require.NoError(t, os.WriteFile(path, []byte("k3y"), 0))
	_, err := keysIn(dir).read(path)
	requireError(t, err, "the agent's key file in "+dir+" may not be read by this program; join the group")
	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, os.Chmod(dir, 0o300))
	key, err := keysIn(dir).read(path)
	require.NoError(t, err, "no right to list the folder is needed")
	require.True(t, key == "k3y")
	require.NoError(t, os.Chmod(dir, 0))
	defer func() { require.NoError(t, os.Chmod(dir, 0o700)) }()
	_, err = keysIn(dir).read(path)
	requireError(t, err, "the agent's key file in "+dir+" may not be read by this program; join the group")
}

func TestArcKeys_noPipeIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "k.key")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	_, err := keysIn(dir).read(path)
	requireError(t, err, "the agent's key file in "+dir+" is unusable: it is not a regular file")
}
