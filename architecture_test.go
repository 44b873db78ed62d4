package managedid

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// parsed returns the files that match a pattern.
func parsed(t *testing.T, patterns ...string) (files []*ast.File) {
	t.Helper()
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, path := range paths {
			file, err := parser.ParseFile(gotoken.NewFileSet(), path, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			files = append(files, file)
		}
	}
	return files
}

func TestArchitecture_namesWhatIsThere(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("docs", "architecture.md"))
	require.NoError(t, err)
	page := string(content)
	there := map[string]bool{}
	for _, file := range parsed(t, "*.go", "internal/tokens/*.go", "internal/gate/*.go", "managedidtest/*.go", "examples/emulator/*.go") {
		ast.Inspect(file, func(n ast.Node) bool {
			if name, ok := n.(*ast.Ident); ok {
				there[name.Name] = true
			}
			return true
		})
	}
	for _, code := range regexp.MustCompile("`([A-Za-z0-9_.]+)`").FindAllStringSubmatch(page, -1) {
		for name := range strings.SplitSeq(code[1], ".") {
			require.True(t, there[name], code[1])
		}
	}
	for _, path := range regexp.MustCompile(`\b(?:[a-z]+/)*[A-Za-z]+\.(?:go|md|golden)\b|\b(?:managedidtest|testdata|examples)(?:/[a-z]+)*`).FindAllString(page, -1) {
		_, err := os.Stat(path)
		require.NoError(t, err)
	}
	_, rooms, _ := strings.Cut(page, "\n## The rooms\n")
	rooms, _, _ = strings.Cut(rooms, "\n## ")
	files, err := fs.Glob(os.DirFS("."), "*.go")
	require.NoError(t, err)
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			require.True(t, regexp.MustCompile(`[| ]`+regexp.QuoteMeta(file)+`\b`).MatchString(rooms), "%s has no room on the page", file)
		}
	}
}

// sourcesOf returns the values of the constants of type Source.
func sourcesOf(t *testing.T) (values []string) {
	for _, file := range parsed(t, "managed.go") {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if of, ok := spec.Type.(*ast.Ident); ok && of.Name == "Source" {
				values = append(values, strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`))
			}
			return true
		})
	}
	require.Contains(t, values, string(SourceCloudShell))
	return values
}

func TestSource_eachIsInTheTables(t *testing.T) {
	for _, source := range sourcesOf(t) {
		file := strings.TrimPrefix(strings.ToLower(strings.ReplaceAll(source, " ", "")), "azure")
		wire := func(row wireRow) bool { return strings.TrimPrefix(row.name, "azure") == file }
		require.True(t, slices.ContainsFunc(wireTable, wire), "%s is not in wireTable", source)
		require.True(t, slices.ContainsFunc(secretRows, func(row secretRow) bool { return row.name == source }), "%s is not in secretRows", source)
		require.True(t, slices.ContainsFunc(faultSources, func(row faultSource) bool { return row.name == source }), "%s is not in faultSources", source)
	}
}

// The secret of the recorded requests is "made-up".
func TestSource_eachSecretHeaderIsKnown(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("testdata", "wire", "*.txt"))
	require.NoError(t, err)
	known := 0
	for _, path := range paths {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, header := range regexp.MustCompile(`(?m)^([A-Za-z-]+): .*made-up`).FindAllStringSubmatch(string(content), -1) {
			require.True(t, slices.ContainsFunc(secretHeaders, func(s string) bool { return strings.EqualFold(s, header[1]) }), "%s: %s", path, header[1])
			known++
		}
	}
	require.Positive(t, known)
}
