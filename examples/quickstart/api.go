package main

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/managedid/managedid/managedidtest"
)

// callAPI calls an API as an Azure SDK client does: with a pipeline that has a BearerTokenPolicy. The API verifies the
// token.
func callAPI(emulator *managedidtest.Server, cred azcore.TokenCredential) error {
	api := emulator.NewResource("https://storage.azure.com", nil)
	defer api.Close()
	bearer := runtime.NewBearerTokenPolicy(cred, []string{"https://storage.azure.com/.default"}, nil)
	pipeline := runtime.NewPipeline("quickstart", "v0.1.0", runtime.PipelineOptions{PerRetry: []policy.Policy{bearer}},
		&policy.ClientOptions{Transport: emulator.Client()})
	req, err := runtime.NewRequest(context.Background(), http.MethodGet, api.URL)
	if err != nil {
		return err
	}
	resp, err := pipeline.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Printf("the API verified the token and answered %s %s", resp.Status, body)
	return err
}
