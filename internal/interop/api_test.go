package interop

import (
	"bytes"
	"encoding/json"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// packages reads what the compiler exports of packages.
func packages(t *testing.T, paths ...string) (all []*types.Package) {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-export", "-deps", "-json=ImportPath,Export"}, paths...)...).Output()
	if e, ok := err.(*exec.ExitError); ok {
		require.NoError(t, err, "%s", e.Stderr)
	}
	require.NoError(t, err)
	exports := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p struct{ ImportPath, Export string }
		require.NoError(t, d.Decode(&p))
		exports[p.ImportPath] = p.Export
	}
	i := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for _, path := range paths {
		p, err := i.Import(path)
		require.NoError(t, err)
		all = append(all, p)
	}
	return all
}

// names returns what a package exports: "Name", "Type.Field" and "Type.Method", each with its type.
func names(p *types.Package) map[string]string {
	all := map[string]string{}
	own := func(other *types.Package) string {
		if other == p {
			return ""
		}
		return other.Path()
	}
	for _, name := range p.Scope().Names() {
		o := p.Scope().Lookup(name)
		if !o.Exported() {
			continue
		}
		all[name] = types.TypeString(o.Type(), own)
		named, ok := o.(*types.TypeName)
		if !ok {
			continue
		}
		all[name] = "a type"
		if s, ok := named.Type().Underlying().(*types.Struct); ok {
			for f := range s.Fields() {
				if f.Exported() {
					all[name+"."+f.Name()] = types.TypeString(f.Type(), own)
				}
			}
		}
		var receiver types.Type = types.NewPointer(named.Type())
		if types.IsInterface(named.Type()) {
			receiver = named.Type()
		}
		for m := range types.NewMethodSet(receiver).Methods() {
			if m.Obj().Exported() {
				all[name+"."+m.Obj().Name()] = types.TypeString(m.Type(), own)
			}
		}
	}
	return all
}

// table returns the rows of a page's table under a heading, each as its cells.
func table(t *testing.T, page, heading string) (rows [][]string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
	require.NoError(t, err)
	_, section, found := strings.Cut(string(content), "\n## "+heading+"\n")
	require.True(t, found, heading)
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "|") {
			rows = append(rows, strings.Split(strings.Trim(line, "|"), "|"))
		}
	}
	require.Greater(t, len(rows), 2)
	return rows[2:] // without the head
}

var quoted = regexp.MustCompile("`([^`]+)`")

// A name of azidentity's is managedid's too, with the same type, or is in the page's table; a type there stands for its members.
func TestMoving_eachNameThatDiffersIsOnThePage(t *testing.T) {
	listed := map[string]bool{}
	for _, row := range table(t, "azidentity.md", "Names that differ") {
		require.Len(t, row, 3)
		for _, cell := range row {
			require.NotEmpty(t, strings.TrimSpace(cell), row)
		}
		for _, name := range quoted.FindAllStringSubmatch(row[0], -1) {
			listed[name[1]] = true
		}
	}
	all := packages(t, pathOfTheirs, pathOfOurs)
	theirs, ours := names(all[0]), names(all[1])
	for name, kind := range theirs {
		whole, _, member := strings.Cut(name, ".")
		differs := ours[name] != kind
		if !differs {
			require.False(t, listed[name], "%s is listed, but doesn't differ", name)
		} else if !member || !listed[whole] {
			require.True(t, listed[name], "%s differs, but isn't listed: %s, here %q", name, kind, ours[name])
		}
	}
	for name := range listed {
		require.Contains(t, theirs, name, "it is listed, but azidentity doesn't have it")
	}
}

// What both packages have is in the program that is compiled with both.
func TestMoving_theProgramHasEachCommonName(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("moving", "*.go"))
	require.NoError(t, err)
	var source []byte
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		source = append(source, content...)
	}
	all := packages(t, pathOfTheirs, pathOfOurs)
	ours := names(all[1])
	for name, kind := range names(all[0]) {
		if last := name[strings.LastIndex(name, ".")+1:]; ours[name] == kind {
			require.True(t, regexp.MustCompile(`\b`+last+`\b`).Match(source), name)
		}
	}
}

// Each behaviour that differs has a test.
func TestMoving_eachBehaviourThatDiffersIsShown(t *testing.T) {
	var code strings.Builder
	for _, pattern := range []string{"*_test.go", filepath.Join("..", "..", "*_test.go"), filepath.Join("..", "*", "*_test.go")} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			code.Write(content)
		}
	}
	shown := map[string]bool{}
	for _, row := range table(t, "azidentity.md", "Behaviours that differ") {
		require.Len(t, row, 5, row[0])
		tests := quoted.FindAllStringSubmatch(row[4], -1)
		require.NotEmpty(t, tests, row[0])
		for _, test := range tests {
			shown[test[1]] = true
			require.True(t, strings.Contains(code.String(), "\nfunc "+test[1]+"(t *testing.T) {"), test[1])
		}
	}
	for _, test := range regexp.MustCompile(`(?m)^func (TestDiffers_\w+)`).FindAllStringSubmatch(code.String(), -1) {
		require.True(t, shown[test[1]], "%s shows what the page doesn't say", test[1])
	}
}
