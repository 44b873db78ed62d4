package main

import (
	"fmt"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/managedid/managedid/managedidtest"
)

// withEmulator gets tokens and calls the API in the environments of three hosts. On each host, another link of the
// chain is chosen.
func withEmulator() error {
	emulator := managedidtest.NewServer(&managedidtest.Options{
		OnRequest: func(r managedidtest.Request) { fmt.Println("  emulator:", r) },
	})
	defer emulator.Close()
	pod, err := os.MkdirTemp("", "pod")
	if err != nil {
		return err
	}
	defer os.RemoveAll(pod)
	if _, err := emulator.NewTokenFile(pod, nil); err != nil {
		return err
	}
	for _, host := range []managedidtest.Endpoint{managedidtest.EntraSecret, managedidtest.Workload,
		managedidtest.IMDS} {
		fmt.Printf("\n== %s\n", host)
		for name, value := range emulator.Environ(host) {
			os.Setenv(name, value)
		}
		// The client of the emulator trusts its certificates.
		cred := getTokens(azcore.ClientOptions{Transport: emulator.Client()})
		if err := callAPI(emulator, cred); err != nil {
			return err
		}
	}
	return nil
}
