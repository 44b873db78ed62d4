package managedid

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The secret of the recorded requests is "made-up".
func TestSource_eachSecretHeaderIsKnown(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("internal", "conformance", "testdata", "wire", "*.txt"))
	require.NoError(t, err)
	known := 0
	for _, path := range paths {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, header := range regexp.MustCompile(`(?m)^([A-Za-z-]+): .*made-up`).FindAllStringSubmatch(string(content), -1) {
			require.True(t, slices.ContainsFunc(secretHeaders, func(s string) bool { return strings.EqualFold(s, header[1]) }), "add %s to secretHeaders in transport.go; %s has it", header[1], path)
			known++
		}
	}
	require.Positive(t, known)
}
