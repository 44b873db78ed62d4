package interop

import (
	"encoding/json"
	"go/version"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// requirements are what a go.mod asks for.
type requirements struct {
	Go      string
	Require []struct{ Path, Version string }
}

func requirementsOf(t *testing.T, file string) (r requirements) {
	t.Helper()
	out, err := exec.Command("go", "mod", "edit", "-json", file).Output()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(out, &r))
	return r
}

// A go.mod's Go and versions are passed on to every program that requires the module.
func TestMoving_asksForNothingNewer(t *testing.T) {
	file, err := exec.Command("go", "list", "-m", "-f", "{{.GoMod}}", pathOfTheirs).Output()
	require.NoError(t, err)
	theirs, ours := requirementsOf(t, strings.TrimSpace(string(file))), requirementsOf(t, filepath.Join("..", "..", "go.mod"))
	require.LessOrEqual(t, version.Compare("go"+ours.Go, "go"+theirs.Go), 0, "Go %s, azidentity's is %s", ours.Go, theirs.Go)
	asked := map[string]string{}
	for _, m := range theirs.Require {
		asked[m.Path] = m.Version
	}
	only := []string{}
	for _, m := range ours.Require {
		if at, both := asked[m.Path]; !both {
			only = append(only, m.Path)
		} else {
			require.LessOrEqual(t, slices.Compare(numbers(t, m.Version), numbers(t, at)), 0, "%s %s, azidentity's is %s", m.Path, m.Version, at)
		}
	}
	require.Equal(t, []string{"software.sslmate.com/src/go-pkcs12"}, only)
}

// numbers are those of a version of a release.
func numbers(t *testing.T, v string) (all []int) {
	t.Helper()
	for part := range strings.SplitSeq(strings.TrimPrefix(v, "v"), ".") {
		n, err := strconv.Atoi(part)
		require.NoError(t, err, v)
		all = append(all, n)
	}
	return all
}
