// Command emulator serves the token endpoint of an Azure host on a developer's machine, for one program or for a shell.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/managedid/managedid/managedidtest"
)

func main() {
	log.SetFlags(0)
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	flags := flag.NewFlagSet("emulator", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage); flags.PrintDefaults() }
	options := managedidtest.Options{OnRequest: func(r managedidtest.Request) { log.Print(r) }}
	flags.StringVar(&options.Addr, "listen", "127.0.0.1:0", "`address` to listen on; port 0 is any free one")
	flags.DurationVar(&options.TokenLifetime, "lifetime", time.Hour, "of tokens")
	source := flags.String("source", "imds", "`host`: "+sourceNames())
	env := flags.String("env", "", "`file` for the environment, readable by its owner only; none means stdout")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	host := managedidtest.Endpoint(*source)
	if !slices.Contains(sources, host) {
		return fail(2, fmt.Sprintf("emulator: -source is %s, not %q", sourceNames(), *source))
	} else if *env != "" && flags.NArg() > 0 {
		return fail(2, "emulator: -env is for use without a COMMAND")
	}
	srv, err := managedidtest.Listen(&options)
	if err != nil {
		return fail(1, err)
	}
	defer srv.Close()
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	variables, release, err := environment(srv, host)
	if err != nil {
		return fail(1, err)
	}
	defer release()
	if flags.NArg() > 0 {
		return runCommand(flags.Args(), variables, interrupt)
	}
	return serve(*env, variables, interrupt)
}
