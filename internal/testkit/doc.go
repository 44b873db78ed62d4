// Package testkit has what the tests of the root package and of internal/conformance share: fakes of the endpoints, bubbles
// of time, environments, processes of a test's own. It doesn't import the root package, whose own tests import it.
package testkit

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// ModulePath is that of go.mod.
const ModulePath = "github.com/managedid/managedid"

// root is the folder of go.mod, from that in which the tests of a package begin.
var root = func() string {
	dir := "."
	for range 10 {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Join("..", dir)
	}
	return dir
}()

// AtRoot runs the test in the folder of go.mod.
func AtRoot(t *testing.T) {
	t.Helper()
	t.Chdir(root)
}

// WriteFile writes a file for its owner alone.
func WriteFile(t testing.TB, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}
