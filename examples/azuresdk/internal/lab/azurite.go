package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// MissingError says what the machine lacks, and how to get it.
type MissingError struct{ message string }

func (e *MissingError) Error() string { return "lab: " + e.message }

// azurite returns the path of Azurite's blob service, in the version of package-lock.json. It installs that on first use.
func azurite() (string, error) {
	for _, needed := range []string{"node", "npm"} {
		if _, err := exec.LookPath(needed); err != nil {
			return "", &MissingError{needed + " is not installed; Azurite, the blob service, needs it: apt-get install nodejs npm"}
		}
	}
	dir, err := source()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "npm")
	program := filepath.Join(dir, "node_modules", "azurite", "dist", "src", "blob", "main.js")
	if exists(program) {
		return program, nil
	}
	fmt.Fprintln(os.Stderr, "lab: npm installs Azurite in", dir)
	if err := install(dir); err != nil && !exists(program) { // another process may have been faster
		return "", fmt.Errorf("lab: npm ci in %s: %w", dir, err)
	}
	return program, nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// install makes node_modules, all of it at once.
func install(dir string) error {
	part, err := os.MkdirTemp(dir, "node_modules-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(part)
	for _, name := range []string{"package.json", "package-lock.json"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(part, name), content, 0o644)
		}
		if err != nil {
			return err
		}
	}
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = part
	if out, err := npm.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return errors.Join(err, errors.New(lines[len(lines)-1]))
	}
	return os.Rename(filepath.Join(part, "node_modules"), filepath.Join(dir, "node_modules"))
}
