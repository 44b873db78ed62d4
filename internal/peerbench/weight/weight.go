// Package weight is what the programs in its folders have in common, so that they differ in their credential alone.
package weight

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	azruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// Fixed is a credential that has its token already.
type Fixed struct{}

// GetToken returns the token.
func (Fixed) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// Run calls the URL of the first argument with a token of the credential. With a second argument it then rests, and
// prints the number of goroutines.
func Run(cred azcore.TokenCredential, err error) {
	resp, err := call(cred, err)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	resp.Body.Close()
	if len(os.Args) > 2 {
		time.Sleep(300 * time.Millisecond)
		fmt.Println(runtime.NumGoroutine())
	}
}

func call(cred azcore.TokenCredential, err error) (*http.Response, error) {
	if err != nil {
		return nil, err
	}
	authorize := azruntime.NewBearerTokenPolicy(cred, []string{"https://vault.azure.net/.default"},
		&policy.BearerTokenOptions{InsecureAllowCredentialWithHTTP: true})
	client, err := azcore.NewClient("weight", "v1.0.0",
		azruntime.PipelineOptions{PerRetry: []policy.Policy{authorize}}, nil)
	if err != nil {
		return nil, err
	}
	if len(os.Args) < 2 {
		return nil, fmt.Errorf("the first argument must be the URL to call")
	}
	req, err := azruntime.NewRequest(context.Background(), http.MethodGet, os.Args[1])
	if err != nil {
		return nil, err
	}
	return client.Pipeline().Do(req)
}
