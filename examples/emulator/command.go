package main

import (
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// runCommand runs a program in this one's environment overlaid by env, and returns its exit code; as in a shell, 128 and
// the signal's number if a signal ended it, and 127 if it could not be started. Signals are passed on to it.
func runCommand(args []string, env map[string]string, signals <-chan os.Signal) int {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = overlay(os.Environ(), env)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return fail(127, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			cmd.Process.Signal(s)
		case err := <-ended:
			return exitCode(err)
		}
	}
}

// serve writes the environment, waits for a signal, and removes the file. It returns the exit code.
func serve(file string, env map[string]string, signals <-chan os.Signal) int {
	if err := writeEnviron(file, env); err != nil {
		return fail(1, err)
	}
	if file != "" {
		if !strings.ContainsRune(file, filepath.Separator) {
			file = "." + string(filepath.Separator) + file // else a shell looks on its PATH
		}
		log.Printf("serving until interrupted; in another shell: set -a; . %s; set +a", quote(file))
		mine, _ := os.Stat(file)
		defer func() { // its addresses are another's then
			if now, err := os.Stat(file); err == nil && os.SameFile(mine, now) {
				os.Remove(file)
			}
		}()
	}
	<-signals
	return 0
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		return fail(1, err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// fail says what went wrong and returns the exit code.
func fail(code int, what any) int {
	log.Print(what)
	return code
}

// overlay returns the environment with the variables of env set, or removed where their value is empty: some programs
// take an empty variable for a set one.
func overlay(environ []string, env map[string]string) []string {
	all := slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		_, replaced := env[name]
		return replaced
	})
	for name, value := range env {
		if value != "" {
			all = append(all, name+"="+value)
		}
	}
	return all
}

// writeEnviron writes lines NAME=value, sorted, to stdout or at once to the whole file, which only its owner may read.
func writeEnviron(file string, env map[string]string) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(&b, "%s=%s\n", name, quote(env[name]))
	}
	if file == "" {
		_, err := os.Stdout.WriteString(b.String())
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".env-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(b.String())
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// quote makes a shell read any value as it is. Those that need no quotes get none, for programs that are no shell.
func quote(value string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~/:@%+,="
	if strings.Trim(value, plain) == "" {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}
