// Rest calls an API that has no SDK, with plain net/http. The URL to get is in API_URL, and the scope of the API's tokens in
// API_SCOPE: the application ID URI of its registration in Entra, with /.default. The identity needs an app role there, if
// the API asks for one.
//
// In the lab the API is the emulator's. It verifies the token's signature, issuer, audience and life.
package main

import (
	"io"
	"log"
	"net/http"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/managedid/managedid"
)

// bearer adds a token to requests to one host. The library caches and refreshes it: ask for it each time, keep it nowhere,
// log it never, and don't look into it, since its content is the API's affair alone.
type bearer struct {
	cred        azcore.TokenCredential
	scope, host string
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "https" && r.URL.Host == b.host { // a redirect may lead elsewhere, where the token must not go
		token, err := b.cred.GetToken(r.Context(), policy.TokenRequestOptions{Scopes: []string{b.scope}})
		if err != nil {
			return nil, err // with a request that has a body, close that first
		}
		r = r.Clone(r.Context()) // a round tripper must not change its request
		r.Header.Set("Authorization", "Bearer "+token.Token)
	}
	return http.DefaultTransport.RoundTrip(r)
}

func main() {
	log.SetFlags(0)
	cred, err := managedid.NewDefaultAzureCredential(nil)
	if err != nil {
		log.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodGet, os.Getenv("API_URL"), nil)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := (&http.Client{Transport: bearer{cred, os.Getenv("API_SCOPE"), req.URL.Host}}).Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		log.Fatalf("the API answers %s (401: API_SCOPE isn't that of its registration; 403: give the identity the app role that it asks for)", resp.Status)
	}
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		log.Fatal(err)
	}
}
