// Command testing is a service that calls an API with its managed identity. Its tests run without Azure, sockets or
// waiting. API_URL is the address of the API, which is also its audience.
package main

import (
	"io"
	"log"
	"net/http"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/managedid/managedid"
)

func main() {
	cred, err := managedid.NewDefaultAzureCredential(nil)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("localhost:8080", newService(os.Getenv("API_URL"), cred, nil)))
}

// service answers each request with the answer of the API.
type service struct {
	url string
	api runtime.Pipeline
}

func newService(url string, cred azcore.TokenCredential, options *azcore.ClientOptions) *service {
	bearer := runtime.NewBearerTokenPolicy(cred, []string{url + "/.default"}, nil)
	return &service{url, runtime.NewPipeline("testing", "v0.1.0",
		runtime.PipelineOptions{PerRetry: []policy.Policy{bearer}}, options)}
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req, err := runtime.NewRequest(r.Context(), http.MethodGet, s.url+r.URL.Path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	resp, err := s.api.Do(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	io.Copy(w, resp.Body)
}
