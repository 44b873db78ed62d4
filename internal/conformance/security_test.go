package conformance

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/testkit"
)

func TestSecurity_eachThreatNamesTestsThatExist(t *testing.T) {
	testkit.AtRoot(t)
	page, err := os.ReadFile("SECURITY.md")
	require.NoError(t, err)
	var code strings.Builder
	for _, pattern := range []string{"*_test.go", "*/*_test.go", "internal/*/*_test.go", "examples/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			code.Write(content)
		}
	}
	_, table, found := strings.Cut(string(page), "|---|---|---|---|\n")
	require.True(t, found)
	named := regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")
	for row := range strings.Lines(table) {
		tests := named.FindAllStringSubmatch(row, -1)
		require.NotEmpty(t, tests, row)
		for _, test := range tests {
			require.True(t, strings.Contains(code.String(), "\nfunc "+test[1]+"(t *testing.T) {"), test[1])
		}
	}
}
