package conformance

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/testkit"
)

// TestAPI_isWhatTheGoldenFilesSay makes a change of a public name visible. Go's documentation tool prints the names.
func TestAPI_isWhatTheGoldenFilesSay(t *testing.T) {
	testkit.AtRoot(t)
	for _, pkg := range []string{".", "./managedidtest"} {
		printed, err := exec.Command("go", "doc", "-all", pkg).Output()
		require.NoError(t, err)
		printed = bytes.ReplaceAll(printed, []byte("\r\n"), []byte("\n"))
		name := filepath.Base(pkg)
		if pkg == "." {
			name = "managedid"
		}
		golden := filepath.Join("testdata", "api", name+".txt")
		if *update {
			require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o755))
			require.NoError(t, os.WriteFile(golden, printed, 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		was, is := strings.Split(string(want), "\n"), strings.Split(string(printed), "\n")
		for i := range max(len(was), len(is)) {
			require.Equal(t, append(was, "")[min(i, len(was))], append(is, "")[min(i, len(is))],
				"the public names of %s have changed at line %d; if that is meant, run go test ./internal/conformance -run API -update "+
					"and say so in CHANGELOG.md", pkg, i+1)
		}
	}
}
