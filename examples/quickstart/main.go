// Command quickstart gets tokens through the default chain and calls an API with one. It uses an emulator in this
// process, in the environment of three hosts: an application with a secret, a pod with workload identity, and a virtual
// machine. With -azure, it uses the environment of the process instead, on Azure or under examples/emulator.
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

// getTokens makes the default chain. It shows which link answers, and which tokens come from the cache.
func getTokens(options azcore.ClientOptions) azcore.TokenCredential {
	cred, err := managedid.NewDefaultAzureCredential(&managedid.DefaultAzureCredentialOptions{
		ClientOptions: options,
		Logger:        slog.New(slog.NewTextHandler(os.Stdout, nil)), // logs which link was chosen
	})
	if err != nil {
		log.Fatal(err)
	}
	tokens := map[string]string{}
	for _, resource := range []string{"vault.azure.net", "vault.azure.net", "storage.azure.com", "vault.azure.net"} {
		scope := "https://" + resource + "/.default"
		token, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{
			Scopes: []string{scope}, EnableCAE: true, // the Azure SDKs' clients set EnableCAE, too
		})
		if err != nil {
			log.Fatal(err)
		}
		source := "the endpoint"
		if token.Token == tokens[scope] {
			source = "the cache"
		}
		tokens[scope] = token.Token
		fmt.Printf("%-36s expires %-9s refresh %-8s from %s\n", scope, fromNow(token.ExpiresOn),
			fromNow(token.RefreshOn), source)
	}
	return cred
}

func fromNow(t time.Time) string { return "in " + time.Until(t).Round(time.Second).String() }
