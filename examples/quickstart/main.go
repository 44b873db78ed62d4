// Quickstart gets tokens through the default chain and calls an API with one, beside an emulator of IMDS in this process.
// With -azure it uses the environment that it finds instead, on Azure or under examples/emulator.
package main

import (
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
	cred, err := managedid.NewDefaultAzureCredential(&managedid.DefaultAzureCredentialOptions{
		Logger: slog.New(slog.NewTextHandler(os.Stdout, nil)), // says which link of the chain answered
	})
	if err != nil {
		log.Fatal(err)
	}
	tokens := map[string]string{}
	for i, resource := range []string{"vault.azure.net", "vault.azure.net", "storage.azure.com", "vault.azure.net", "storage.azure.com"} {
		scope := "https://" + resource + "/.default"
		token, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{scope}})
		if err != nil {
			log.Fatal(err)
		}
		if i == 0 {
			fmt.Printf("\n%-36s %-12s %-12s %s\n", "scope", "expires", "refresh", "from")
		}
		from := "the endpoint"
		if token.Token == tokens[scope] {
			from = "the cache"
		}
		tokens[scope] = token.Token
		fmt.Printf("%-36s %-12s %-12s %s\n", scope, in(token.ExpiresOn), in(token.RefreshOn), from)
	}
	if emulator != nil {
		callAPI(emulator, cred)
	}
}

func in(t time.Time) string { return "in " + time.Until(t).Round(time.Second).String() }
