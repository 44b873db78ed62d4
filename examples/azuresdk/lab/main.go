// Lab runs an example on this machine, without Azure: go -C examples/azuresdk run ./lab NAME.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/managedid/managedid/examples/azuresdk/internal/lab"
)

// examples are the programs, and what each needs.
var examples = map[string][]func(*lab.Lab) error{
	"blob":      {(*lab.Lab).Blob},
	"keyvault":  {(*lab.Lab).KeyVault},
	"rest":      {(*lab.Lab).REST},
	"federated": {(*lab.Lab).Federated},
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("lab: ")
	if len(os.Args) != 2 || examples[os.Args[1]] == nil {
		log.Fatalf("usage: go -C examples/azuresdk run ./lab NAME, where NAME is %s", strings.Join(slices.Sorted(maps.Keys(examples)), ", "))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1])
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(max(1, exit.ExitCode())) // it has said why
	} else if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, name string) (err error) {
	l, err := lab.Start(nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for _, start := range examples[name] {
		if err := start(l); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	cmd, err := l.Example(ctx, name)
	if err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	for _, r := range l.Emulator.Requests() {
		fmt.Fprintln(os.Stderr, "  emulator:", r)
	}
	return err
}
