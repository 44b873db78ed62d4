package main

import (
	"fmt"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/managedid/managedid/managedidtest"
)

// withEmulator lets each link of the chain win in turn.
func withEmulator() error {
	emulator := managedidtest.NewServer(&managedidtest.Options{OnRequest: func(r managedidtest.Request) { fmt.Println("  emulator:", r) }})
	defer emulator.Close()
	pod, err := os.MkdirTemp("", "pod")
	if err != nil {
		return err
	}
	defer os.RemoveAll(pod)
	if _, err := emulator.NewTokenFile(pod, nil); err != nil {
		return err
	}
	for _, host := range []managedidtest.Endpoint{managedidtest.EntraSecret, managedidtest.Workload, managedidtest.IMDS} {
		fmt.Printf("\n== %s\n", host)
		for name, value := range emulator.Environ(host) {
			os.Setenv(name, value)
		}
		cred := getTokens(azcore.ClientOptions{Transport: emulator.Client()}) // which trusts the emulator's certificates
		if err := callAPI(emulator, cred); err != nil {
			return err
		}
	}
	return nil
}
