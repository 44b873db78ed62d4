// Command doctor says which identity the default chain would use on this machine or in this pod, and why. It needs no flags:
//
//	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' ./examples/doctor   # 8.0 MB, static, to copy into a container
//	doctor -probe -scope https://vault.azure.net/.default
//
// Exit code 0: an identity is configured and, with -scope, gives a token; 1: none is; 2: wrong flags. docs/doctor.md has examples.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/managedid/managedid"
)

func main() {
	probe := flag.Bool("probe", false, "ask each endpoint whether it is there, without asking for a token")
	asJSON := flag.Bool("json", false, "print JSON")
	scope := flag.String("scope", "", "get a token with the chain and with each link, for example https://vault.azure.net/.default; none is printed")
	limit := flag.Duration("timeout", 10*time.Second, "for each token")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	cred, err := managedid.NewDefaultAzureCredential(nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var d diagnosis
	if *scope != "" {
		d.Attempts = append(d.Attempts, try(cred, "the chain", *scope, *limit))
	}
	d.Report = cred.Explain(context.Background(), &managedid.ExplainOptions{Probe: *probe})
	if *scope != "" {
		d.tryLinks(*scope, *limit)
	}
	if *asJSON {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(d)
	} else {
		fmt.Print(coloured(d.String()))
	}
	if !d.healthy() {
		os.Exit(1)
	}
}
