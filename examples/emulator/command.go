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

// runCommand runs a program in the environment of this process, overlaid by env. It passes signals on to the program,
// and returns its exit code. As in a shell, the exit code is 128 plus the signal's number if a signal ended the
// program, and 127 if the program could not be started.
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

// serve writes the environment to the file, waits for a signal, and removes the file. It returns the exit code. An
// empty file means stdout.
func serve(file string, env map[string]string, signals <-chan os.Signal) int {
	if err := writeEnviron(file, env); err != nil {
		return fail(1, err)
	}
	if file != "" {
		if !strings.ContainsRune(file, filepath.Separator) {
			// Without a separator, a shell searches its PATH.
			file = "." + string(filepath.Separator) + file
		}
		log.Printf("serving until interrupted; in another shell: set -a; . %s; set +a", quote(file))
		written, _ := os.Stat(file)
		// The addresses are invalid after the end. Another emulator may have replaced the file, which then stays.
		defer func() { // its addresses are another's then
			if now, err := os.Stat(file); err == nil && os.SameFile(written, now) {
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

// fail logs what went wrong and returns the exit code.
func fail(code int, what any) int {
	log.Print(what)
	return code
}

// overlay returns environ with the variables of env. It removes the variables that are empty in env, since some
// programs treat an empty variable as set.
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

// writeEnviron writes lines NAME=value, sorted by name, to the file or, if it is empty, to stdout. It replaces the file
// atomically, and only the owner can read it.
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

// quote quotes a value for a shell. It leaves a value that needs no quotes unchanged, for programs that are not shells.
func quote(value string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~/:@%+,="
	if strings.Trim(value, plain) == "" {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}
