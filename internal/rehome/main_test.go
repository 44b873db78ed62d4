package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRenamed(t *testing.T) {
	n := newName("old.example/a/b", "new.example/c", "https://forge.example/d")
	for name, row := range map[string]struct {
		content, want string
		count         int
	}{
		"an import":                      {`import "old.example/a/b/sub"`, `import "new.example/c/sub"`, 1},
		"a requirement":                  {"require old.example/a/b v0.0.0\n", "require new.example/c v0.0.0\n", 1},
		"a replacement":                  {"old.example/a/b@v0.0.0=../..", "new.example/c@v0.0.0=../..", 1},
		"a function's name":              {"old.example/a/b.(*T).f", "new.example/c.(*T).f", 1},
		"the whole content":              {"old.example/a/b", "new.example/c", 1},
		"two beside each other":          {"old.example/a/b old.example/a/b", "new.example/c new.example/c", 2},
		"a page of the repository":       {"(https://old.example/a/b/blob/x)", "(https://forge.example/d/blob/x)", 1},
		"a page elsewhere":               {"https://pkg.go.dev/old.example/a/b#T", "https://pkg.go.dev/new.example/c#T", 1},
		"the end of a sentence":          {"It is old.example/a/b.", "It is new.example/c.", 1},
		"another module, longer":         {"old.example/a/bc old.example/a/b-c", "old.example/a/bc old.example/a/b-c", 0},
		"another host, which ends alike": {"veryold.example/a/b", "veryold.example/a/b", 0},
		"a dot that is none":             {"oldxexample/a/b", "oldxexample/a/b", 0},
	} {
		t.Run(name, func(t *testing.T) {
			content, count := n.renamed([]byte(row.content))
			require.Equal(t, row.want, string(content))
			require.Equal(t, row.count, count)
		})
	}
}

// The new name may contain the old one, and the other way round.
func TestRenamed_longerAndShorter(t *testing.T) {
	content := "a.example/b/x https://a.example/b"
	longer, _ := newName("a.example/b", "a.example/b/c", "https://a.example/b/c").renamed([]byte(content))
	require.Equal(t, "a.example/b/c/x https://a.example/b/c", string(longer))
	shorter, _ := newName("a.example/b/c", "a.example/b", "https://a.example/b").renamed(longer)
	require.Equal(t, content, string(shorter))
}

func TestRun_refusesWrongArguments(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "go.mod", "module old.example/a/b\n")
	for name, args := range map[string][]string{
		"none":                 {},
		"two":                  {"new.example/c", "new.example/d"},
		"an unknown flag":      {"-force", "new.example/c"},
		"empty":                {""},
		"a host alone":         {"new.example"},
		"no host":              {"tokens/c"},
		"an address":           {"https://new.example/c"},
		"a space":              {"new.example/c d"},
		"a slash at the end":   {"new.example/c/"},
		"an empty element":     {"new.example//c"},
		"a parent":             {"new.example/../c"},
		"a major version":      {"new.example/c/v2"},
		"a dot at the end":     {"gopkg.in/c.v1"},
		"a capital host":       {"New.example/c"},
		"-repo without TLS":    {"-repo", "http://forge.example/d", "new.example/c"},
		"-repo that is a path": {"-repo", "forge.example/d", "new.example/c"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, run(dir, args, io.Discard), "usage: ")
			require.Equal(t, "module old.example/a/b\n", read(t, dir, "go.mod"))
		})
	}
}

func TestRun_wantsAModule(t *testing.T) {
	require.ErrorContains(t, run(t.TempDir(), []string{"new.example/c"}, io.Discard), "no go.mod")
}

func TestRun_changesTextAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	binary := "\x00 old.example/a/b"
	write(t, dir, "go.mod", "module old.example/a/b\n")
	write(t, dir, "sub/go.mod",
		"module old.example/a/b/sub\n\nrequire (\n\told.example/a/b v0.0.0\n\tother.example/c v1.0.0\n)\n")
	write(t, dir, "sub/x.go", "package x\n\nimport (\n\t_ \"old.example/a/b\"\n\t_ \"other.example/c\"\n)\n")
	write(t, dir, "run", "#!/bin/sh\ngo get old.example/a/b\n")
	write(t, dir, "b.pfx", binary)
	write(t, dir, ".git/config", "old.example/a/b")
	write(t, dir, "npm/node_modules/x.js", "old.example/a/b")
	write(t, dir, ".github/x.yml", "url: https://old.example/a/b/security")
	require.NoError(t, os.Chmod(filepath.Join(dir, "run"), 0o755))

	var out bytes.Buffer
	require.NoError(t, run(dir, []string{"-repo", "https://forge.example/d", "zoo.example/z"}, &out))
	require.Equal(t, `   1 .github/x.yml
   1 go.mod
   1 run
   2 sub/go.mod
   1 sub/x.go
6 names in 5 files are changed; now run go vet ./... and go test ./...
`, out.String())
	require.Equal(t, "module zoo.example/z\n", read(t, dir, "go.mod"))
	require.Equal(t, "module zoo.example/z/sub\n\nrequire (\n\tother.example/c v1.0.0\n\tzoo.example/z v0.0.0\n)\n",
		read(t, dir, "sub/go.mod"))
	require.Equal(t, "package x\n\nimport (\n\t_ \"other.example/c\"\n\t_ \"zoo.example/z\"\n)\n",
		read(t, dir, "sub/x.go"))
	require.Equal(t, "url: https://forge.example/d/security", read(t, dir, ".github/x.yml"))
	require.Equal(t, binary, read(t, dir, "b.pfx"))
	require.Equal(t, "old.example/a/b", read(t, dir, ".git/config"))
	require.Equal(t, "old.example/a/b", read(t, dir, "npm/node_modules/x.js"))
	info, err := os.Stat(filepath.Join(dir, "run"))
	require.NoError(t, err)
	require.True(t, info.Mode()&0o100 != 0 || os.PathSeparator == '\\')
}

// A copy of this repository keeps nothing of its old path, and compiles.
func TestRun_thisRepository(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles everything")
	}
	listed := exec.Command("git", "ls-files", "-z")
	listed.Dir = filepath.Join("..", "..")
	files, err := listed.Output()
	if err != nil {
		t.Skip("needs git and a clone:", err)
	}
	dir := t.TempDir()
	paths := strings.Split(strings.TrimSuffix(string(files), "\x00"), "\x00")
	paths = slices.DeleteFunc(paths, func(path string) bool { // deleted, and not yet so in the index
		_, err := os.Lstat(filepath.Join(listed.Dir, path))
		return errors.Is(err, fs.ErrNotExist)
	})
	for _, path := range paths {
		write(t, dir, path, read(t, listed.Dir, path))
	}
	old, err := modulePath(dir)
	require.NoError(t, err)

	require.NoError(t, run(dir, []string{"zoo.example/some/tokens"}, io.Discard))
	for _, path := range paths {
		require.False(t, strings.Contains(read(t, dir, path), old), path)
	}
	for _, command := range []string{"gofmt -l .", "go build -trimpath ./...", "go vet -trimpath ./..."} {
		args := strings.Fields(command)
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", command, out)
		require.Empty(t, string(out), command)
	}
}

func write(t *testing.T, dir, path, content string) {
	t.Helper()
	path = filepath.Join(dir, filepath.FromSlash(path))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func read(t *testing.T, dir, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
	require.NoError(t, err)
	return string(content)
}
