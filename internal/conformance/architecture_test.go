package conformance

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

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/testkit"
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
	testkit.AtRoot(t)
	content, err := os.ReadFile(filepath.Join("docs", "architecture.md"))
	require.NoError(t, err)
	page := string(content)
	there := map[string]bool{}
	for _, file := range parsed(t, "*.go", "internal/*/*.go", "managedidtest/*.go", "examples/emulator/*.go") {
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
	for _, path := range regexp.MustCompile(`\b(?:[a-z]+/)*[A-Za-z]+\.(?:go|md|golden)\b|\b(?:internal/[a-z]+/)?(?:managedidtest|testdata|examples)(?:/[a-z]+)*`).FindAllString(page, -1) {
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
	for _, file := range parsed(t, "detect.go") {
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
	require.Contains(t, values, string(managedid.SourceCloudShell))
	return values
}

func TestSource_eachIsInTheTables(t *testing.T) {
	testkit.AtRoot(t)
	var missing []string
	need := func(there bool, source, table string) {
		if !there {
			missing = append(missing, source+" in "+table)
		}
	}
	ci, err := os.ReadFile(".ci/run")
	require.NoError(t, err)
	for _, source := range sourcesOf(t) {
		file := strings.TrimPrefix(strings.ToLower(strings.ReplaceAll(source, " ", "")), "azure")
		wire := func(row wireRow) bool { return strings.TrimPrefix(row.name, "azure") == file }
		need(slices.ContainsFunc(wireTable, wire), source, "wireTable, under the name "+file)
		need(slices.ContainsFunc(secretRows, func(row secretRow) bool { return row.name == source }), source, "secretRows")
		need(slices.ContainsFunc(faultSources, func(row faultSource) bool { return row.name == source }), source, "faultSources")
		need(strings.Contains(string(ci), file), source, ".ci/run, under the name "+file)
	}
	require.Empty(t, missing, "these rows are missing")
}

// A secret in a variable may look like a URL.
func TestSource_explainShowsNoSecret(t *testing.T) {
	const secret = "https://localhost/p8s3cr3t"
	secrets := 0
	for _, row := range wireTable {
		for pair := range strings.FieldsSeq(row.environment) {
			name, value, _ := strings.Cut(pair, "=")
			if value != "made-up" {
				continue
			}
			secrets++
			for _, environment := range []string{strings.Replace(row.environment, pair, name+"="+secret, 1), name + "=" + secret} {
				blankEnvironment(t)
				setenv(t, strings.Fields(environment)...)
				cred, err := managedid.NewDefaultAzureCredential(nil)
				require.NoError(t, err)
				require.NotContains(t, cred.Explain(t.Context(), nil).String(), "p8s3cr3t", "%s is shown; see shownValue in variables.go", name)
			}
		}
	}
	require.Greater(t, secrets, 3)
}
