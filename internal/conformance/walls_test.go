package conformance

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	gotoken "go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/testkit"
)

// rooms are the packages of the library, the lowest first: one imports those before it only.
var rooms = []string{"internal/text", "internal/files", "internal/certs", "internal/answer", "internal/gate", "internal/tokens", "."}

// listed is a package as "go list" has it.
type listed struct {
	ImportPath, Export string
	GoFiles, Imports   []string
}

// listPackages returns the package and all that it imports.
func listPackages(t *testing.T) (packages []listed) {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "-export", "-json=ImportPath,Export,GoFiles,Imports", ".").Output()
	require.NoError(t, err)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else {
			require.NoError(t, err)
		}
		packages = append(packages, p)
	}
}

func TestWalls_importsGoDownOnly(t *testing.T) {
	testkit.AtRoot(t)
	seen := 0
	for _, p := range listPackages(t) {
		room := func(path string) int {
			rest, ours := strings.CutPrefix(path, testkit.ModulePath)
			if !ours {
				return -1
			}
			at := slices.Index(rooms, strings.TrimPrefix(rest, "/"))
			if rest == "" {
				at = len(rooms) - 1
			}
			require.GreaterOrEqual(t, at, 0, "%s is not among the rooms", path)
			return at
		}
		at := room(p.ImportPath)
		if at < 0 {
			continue
		}
		seen++
		for _, imported := range p.Imports {
			require.Less(t, room(imported), at, "%s imports %s", p.ImportPath, imported)
		}
	}
	require.Equal(t, len(rooms), seen)
}

func TestWalls_ofFilesToo(t *testing.T) {
	testkit.AtRoot(t)
	packages := listPackages(t)
	export := map[string]string{}
	for _, p := range packages {
		export[p.ImportPath] = p.Export
	}
	fset, info := gotoken.NewFileSet(), &types.Info{Uses: map[*ast.Ident]types.Object{}}
	var files []*ast.File
	for _, name := range packages[len(packages)-1].GoFiles {
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, f)
	}
	config := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(export[path]) })}
	pkg, err := config.Check(testkit.ModulePath, fset, files, info)
	require.NoError(t, err)
	file := func(p gotoken.Pos) string { return filepath.Base(fset.Position(p).Filename) }
	uses := map[string][]string{} // files by file: one uses functions, types, constants or variables of the other
	for name, o := range info.Uses {
		if f, ok := o.(*types.Func); ok {
			o = f.Origin()
		}
		_, method := o.(*types.Func)
		if o.Pkg() == pkg && (method || o.Parent() == pkg.Scope()) && file(o.Pos()) != file(name.Pos()) {
			uses[file(name.Pos())] = append(uses[file(name.Pos())], file(o.Pos()))
		}
	}
	reaches := map[string]map[string]bool{}
	var walk func(from, at string)
	walk = func(from, at string) {
		for _, next := range uses[at] {
			if !reaches[from][next] {
				reaches[from][next] = true
				walk(from, next)
			}
		}
	}
	for from := range uses {
		reaches[from] = map[string]bool{}
		walk(from, from)
	}
	for from := range uses {
		var cycle []string
		for other := range reaches[from] {
			if reaches[other][from] {
				cycle = append(cycle, other)
			}
		}
		slices.Sort(cycle)
		require.LessOrEqual(t, len(cycle), 3, "these files need each other: %v", cycle)
	}
}

// Each credential of the package is known as such to a chain.
func TestWalls_eachCredentialIsAMember(t *testing.T) {
	testkit.AtRoot(t)
	methods := map[string][]string{}
	for _, f := range parsed(t, "*.go") {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil && f.Name.Name == "managedid" {
				of := types.ExprString(fn.Recv.List[0].Type)
				methods[of] = append(methods[of], fn.Name.Name)
			}
		}
	}
	members := 0
	for of, names := range methods {
		if slices.Contains(names, "inChain") || slices.Contains(names, "GetToken") && gotoken.IsExported(strings.Trim(of, "*")) {
			require.True(t, slices.Contains(names, "self"), "%s has no method self", of)
			members++
		}
	}
	require.Greater(t, members, 10)
}
