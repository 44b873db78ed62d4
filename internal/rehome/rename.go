package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/format"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"unicode/utf8"
)

// modulePath returns the path of the module whose root is dir.
func modulePath(dir string) (string, error) {
	content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("there is no go.mod here; run it in the root of a clone")
	} else if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^module (\S+)$`).FindSubmatch(content)
	if m == nil {
		return "", errors.New("go.mod has no module line")
	}
	return string(m[1]), nil
}

// name is what is searched, and what takes its place.
type name struct {
	old        *regexp.Regexp
	path, repo []byte
}

func newName(old, path, repo string) name {
	form := `(https://)?\b` + regexp.QuoteMeta(old) + `([^A-Za-z0-9_~-]|$)`
	return name{regexp.MustCompile(form), []byte(path), []byte(repo)}
}

// renamed returns the content with the new name, and how often the old one was in it.
func (n name) renamed(content []byte) ([]byte, int) {
	count := 0
	content = n.old.ReplaceAllFunc(content, func(found []byte) []byte {
		count++
		parts := n.old.FindSubmatch(found)
		name := n.path
		if len(parts[1]) > 0 {
			name = n.repo
		}
		return append(bytes.Clone(name), parts[2]...)
	})
	return content, count
}

// rehome changes each file below dir that has the old name, and prints it.
func rehome(dir string, n name, out io.Writer) error {
	names, files := 0, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		count, err := n.rewrite(path)
		if count > 0 && err == nil {
			shown, _ := filepath.Rel(dir, path)
			fmt.Fprintf(out, "%4d %s\n", count, filepath.ToSlash(shown))
			names, files = names+count, files+1
		}
		return err
	})
	if err == nil {
		fmt.Fprintf(out, "%d names in %d files are changed; now run go vet ./... and go test ./...\n", names, files)
	}
	return err
}

// rewrite puts the new name into a file, unless it is a binary one. A file that lacks the old name is not written.
func (n name) rewrite(path string) (int, error) {
	content, err := os.ReadFile(path)
	if err != nil || bytes.IndexByte(content, 0) >= 0 || !utf8.Valid(content) {
		return 0, err
	}
	content, count := n.renamed(content)
	if count == 0 {
		return 0, nil
	}
	if filepath.Ext(path) == ".go" { // which sorts imports
		if content, err = format.Source(content); err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := os.WriteFile(path, content, 0o666); err != nil {
		return 0, err
	}
	if filepath.Base(path) == "go.mod" {
		// which sorts requirements
		if out, err := exec.Command("go", "mod", "edit", "-fmt", path).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("go mod edit: %w: %s", err, bytes.TrimSpace(out))
		}
	}
	return count, nil
}
