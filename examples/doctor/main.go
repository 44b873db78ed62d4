// Command doctor says which identity the default chain would use on this machine or in this pod, why, and whether that
// works. It needs no flags:
//
//	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' ./examples/doctor   # 8.0 MB, static, to copy into a container
//	doctor                                          # how each link is configured, and whether its endpoint is there
//	doctor -scope https://vault.azure.net/.default  # and whether it gets a token
//
// docs/doctor.md shows the output on each kind of host.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

const usage = `usage: doctor [flags]
Doctor says which identity the default chain would use here, why, and whether that works, for example:
  doctor -scope https://vault.azure.net/.default
It prints no secret and no token. Exit code 0: an identity is set up, as far as was looked, and with -scope
gets a token; 1: none is set up, or none gets one; 2: wrong flags.
`

func main() {
	flag.Usage = func() { fmt.Fprint(flag.CommandLine.Output(), usage); flag.PrintDefaults() }
	var o options
	flag.BoolVar(&o.probe, "probe", true, "ask each endpoint whether it is there, without asking for a token")
	flag.StringVar(&o.scope, "scope", "", "get a token for `SCOPE`, such as https://vault.azure.net/.default, with "+
		"the chain, and with each link that it doesn't come to")
	flag.DurationVar(&o.limit, "timeout", 10*time.Second, "for each token")
	asJSON := flag.Bool("json", false, "print JSON; times that something took are in nanoseconds")
	flag.Parse()
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "scope" && o.scope == "" { // for example from a variable that is not set
			refuse("-scope is empty")
		}
	})
	if o.limit <= 0 {
		refuse("-timeout must be more than zero")
	}
	if flag.NArg() > 0 {
		refuse(fmt.Sprintf("doctor takes no argument, but got %q", flag.Arg(0)))
	}
	d := diagnose(context.Background(), o)
	if *asJSON {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(d)
	} else {
		fmt.Print(d.table(painter(os.Stdout)))
	}
	if !d.Healthy {
		os.Exit(1)
	}
}

func refuse(why string) {
	fmt.Fprintln(flag.CommandLine.Output(), why)
	flag.Usage()
	os.Exit(2)
}
