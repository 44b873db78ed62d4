// Lab runs an example on this machine, without Azure: go -C examples/azuresdk run ./lab NAME. It starts what the example
// needs, runs its program in the environment of a virtual machine on Azure, shows the emulator's log, and stops all again.
package main

import (
	"context"
	"errors"
	"flag"
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
	"blob":             {(*lab.Lab).Blob},
	"connectionstring": {(*lab.Lab).ConnectionString},
	"federated":        {(*lab.Lab).Federated},
	"keyvault":         {(*lab.Lab).KeyVault},
	"postgres":         {(*lab.Lab).Postgres},
	"redis":            {(*lab.Lab).Redis},
	"rest":             {(*lab.Lab).REST},
	"sql":              {(*lab.Lab).SQL},
}

func main() {
	log.SetFlags(0)
	fault := flag.String("fault", "", "what goes wrong: revoked (the identity is gone) or audience (tokens are for another resource)")
	flag.Usage = func() {
		log.Printf("usage: go -C examples/azuresdk run ./lab [-fault F] NAME, where NAME is %s", strings.Join(slices.Sorted(maps.Keys(examples)), ", "))
		flag.PrintDefaults()
	}
	flag.Parse()
	needs, known := examples[flag.Arg(0)]
	if f, ok := lab.Faults[*fault]; ok {
		needs = append(slices.Clone(needs), f)
	} else if *fault != "" {
		known = false
	}
	if !known || flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, flag.Arg(0), needs)
	stop()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(max(1, exit.ExitCode())) // the example has said why
	} else if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, name string, needs []func(*lab.Lab) error) (err error) {
	l, err := lab.Start(nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for _, start := range needs {
		if err := start(l); err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
	cmd, err := l.Example(ctx, name)
	if err != nil {
		return err
	}
	before := len(l.Emulator.Requests())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	for _, r := range l.Emulator.Requests()[before:] {
		fmt.Fprintln(os.Stderr, "  emulator:", r)
	}
	return err
}
