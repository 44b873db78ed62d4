package managedid_test

import (
	"context"
	"fmt"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
)

var vault = policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}}

// An application with a client secret in the environment, here an emulator's.
func ExampleNewEnvironmentCredential() {
	entra := managedidtest.New(nil)
	for name, value := range entra.Environ(managedidtest.EntraSecret) {
		defer os.Setenv(name, os.Getenv(name))
		os.Setenv(name, value)
	}
	cred, err := managedid.NewEnvironmentCredential(&managedid.EnvironmentCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: entra}, // leave it out on Azure
	})
	if err != nil {
		panic(err)
	}
	_, err = cred.GetToken(context.Background(), vault)
	fmt.Println(err, len(entra.Requests()), "request")
	// Output: <nil> 1 request
}

// A developer's sign-in with "az login", on a machine without az.
func ExampleNewAzureCLICredential() {
	defer os.Setenv("PATH", os.Getenv("PATH"))
	os.Setenv("PATH", "")
	cred, err := managedid.NewAzureCLICredential(nil)
	if err != nil {
		panic(err)
	}
	_, err = cred.GetToken(context.Background(), vault)
	fmt.Println(err)
	// Output: AzureCLICredential: az: the program az is not on the PATH; install it, or correct the PATH; see https://github.com/managedid/managedid/blob/main/docs/troubleshooting.md#absent
}

// A developer's sign-in with "azd auth login", on a machine without azd.
func ExampleNewAzureDeveloperCLICredential() {
	defer os.Setenv("PATH", os.Getenv("PATH"))
	os.Setenv("PATH", "")
	cred, err := managedid.NewAzureDeveloperCLICredential(nil)
	if err != nil {
		panic(err)
	}
	_, err = cred.GetToken(context.Background(), vault)
	fmt.Println(err)
	// Output: AzureDeveloperCLICredential: azd: the program azd is not on the PATH; install it, or correct the PATH; see https://github.com/managedid/managedid/blob/main/docs/troubleshooting.md#absent
}

// buildAgent is a credential of one's own, for a place that this package doesn't know.
type buildAgent struct{}

func (buildAgent) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, managedid.NewCredentialUnavailableError("not on a build agent")
}

// A link of one's own lets the chain go on to the next.
func ExampleNewCredentialUnavailableError() {
	host, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: managedidtest.New(nil)}, // leave it out on Azure
	})
	if err != nil {
		panic(err)
	}
	chain, err := managedid.NewChainedTokenCredential([]azcore.TokenCredential{buildAgent{}, host}, nil)
	if err != nil {
		panic(err)
	}
	_, err = chain.GetToken(context.Background(), vault)
	fmt.Println(err)
	// Output: <nil>
}

// What a cache holds, for metrics.
func ExampleTokenCache_Stats() {
	cache := managedid.NewTokenCache(nil)
	cred, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: managedidtest.New(nil)}, // leave it out on Azure
		Cache:         cache,
	})
	if err != nil {
		panic(err)
	}
	for range 1000 {
		if _, err := cred.GetToken(context.Background(), vault); err != nil {
			panic(err)
		}
	}
	s := cache.Stats()
	fmt.Println(s.Tokens, s.Acquisitions, len(s.Failures))
	// Output: 1 1 0
}
