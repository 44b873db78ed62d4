// Quickstart gets tokens through the default chain and calls an API with one, beside an emulator in this process: first in
// the environment of an application with a secret, then in that of a pod with workload identity, then in that of a virtual
// machine. With -azure it uses the environment that it finds instead, on Azure or under examples/emulator.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/managedid/managedid"
)

func main() {
	log.SetFlags(0)
	azure := flag.Bool("azure", false, "use the environment that is there, without an emulator")
	flag.Parse()
	if *azure {
		getTokens(azcore.ClientOptions{})
	} else if err := withEmulator(); err != nil {
		log.Fatal(err)
	}
}

// getTokens makes the default chain and shows which link of it answers, and when the cache does.
func getTokens(options azcore.ClientOptions) azcore.TokenCredential {
	cred, err := managedid.NewDefaultAzureCredential(&managedid.DefaultAzureCredentialOptions{
		ClientOptions: options,
		Logger:        slog.New(slog.NewTextHandler(os.Stdout, nil)), // says which link was chosen
	})
	if err != nil {
		log.Fatal(err)
	}
	tokens := map[string]string{}
	for _, resource := range []string{"vault.azure.net", "vault.azure.net", "storage.azure.com", "vault.azure.net"} {
		scope := "https://" + resource + "/.default"
		token, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{
			Scopes: []string{scope}, EnableCAE: true, // as the Azure SDKs' clients ask
		})
		if err != nil {
			log.Fatal(err)
		}
		from := "the endpoint"
		if token.Token == tokens[scope] {
			from = "the cache"
		}
		tokens[scope] = token.Token
		fmt.Printf("%-36s expires %-9s refresh %-8s from %s\n", scope, in(token.ExpiresOn), in(token.RefreshOn), from)
	}
	return cred
}

func in(t time.Time) string { return "in " + time.Until(t).Round(time.Second).String() }
