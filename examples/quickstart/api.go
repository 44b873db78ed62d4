package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/managedid/managedid/managedidtest"
)

// callAPI does what a client of an Azure SDK does: a pipeline with BearerTokenPolicy. The API verifies the token.
func callAPI(emulator *managedidtest.Server, cred azcore.TokenCredential) {
	api := emulator.NewResource("https://storage.azure.com", nil)
	defer api.Close()
	bearer := runtime.NewBearerTokenPolicy(cred, []string{"https://storage.azure.com/.default"}, nil)
	pipeline := runtime.NewPipeline("quickstart", "v0.1.0", runtime.PipelineOptions{PerRetry: []policy.Policy{bearer}},
		&policy.ClientOptions{Transport: emulator.Client()})
	req, err := runtime.NewRequest(context.Background(), http.MethodGet, api.URL)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := pipeline.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	requests := emulator.Requests()
	fmt.Printf("\nThe API verified the token and answered %s\n%s\nRequests to the emulator: %d\n", resp.Status, body, len(requests))
	for _, r := range requests {
		fmt.Println(r)
	}
}
