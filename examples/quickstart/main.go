// Quickstart gets tokens through the default chain and calls an API with one, beside an emulator of IMDS in this process.
// With -azure it uses the environment that it finds instead, on Azure or under examples/emulator.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
)

func main() {
	log.SetFlags(0)
	azure := flag.Bool("azure", false, "use the environment that is there, without an emulator")
	flag.Parse()
	var emulator *managedidtest.Server
	if !*azure {
		emulator = managedidtest.NewServer(nil)
		defer emulator.Close()
		for name, value := range emulator.Environ(managedidtest.IMDS) {
			os.Setenv(name, value)
		}
	}
	events := &bytes.Buffer{} // where a service's log would be
	logger := slog.New(slog.NewTextHandler(events, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cred, err := managedid.NewDefaultAzureCredential(&managedid.DefaultAzureCredentialOptions{Logger: logger})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%-36s %-12s %-12s %s\n", "scope", "expires", "refresh", "from")
	for _, resource := range []string{"vault.azure.net", "vault.azure.net", "storage.azure.com", "vault.azure.net", "storage.azure.com"} {
		logged := events.Len()
		scope := "https://" + resource + "/.default"
		token, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{scope}})
		if err != nil {
			log.Fatal(err)
		}
		from := "the cache"
		if events.Len() > logged { // a hit logs nothing
			from = "the endpoint"
		}
		fmt.Printf("%-36s %-12s %-12s %s\n", scope, in(token.ExpiresOn), in(token.RefreshOn), from)
	}
	fmt.Printf("\nThe credential's log:\n%s", events)
	if emulator != nil {
		callAPI(emulator, cred)
	}
}

func in(t time.Time) string { return "in " + time.Until(t).Round(time.Second).String() }
