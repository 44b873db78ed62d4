// Command moving is a program as services have it, with all of azidentity's API that managedid has too. The tests of the folder
// above compile it as it is, and with managedid in azidentity's place, by the change of one import.
package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// result is what the program writes.
type result struct {
	Token  string `json:",omitempty"`
	Made   bool   // the constructor succeeded
	Failed bool   // the error is an AuthenticationFailedError
	Final  bool   // the error says that it is not to be retried
	Status int    // of the answer that the error has
	Error  string
}

// main gets a token with the credential that the first argument names; the second is the tenant, where one is asked for.
func main() {
	create, ok := credentials[os.Args[1]]
	if !ok {
		panic("no credential is named " + os.Args[1])
	}
	var r result
	opts := policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}}
	if len(os.Args) > 2 {
		opts.TenantID, opts.EnableCAE = os.Args[2], true
	}
	c, err := create(options())
	if r.Made = err == nil; r.Made {
		var t azcore.AccessToken
		t, err = c.GetToken(context.Background(), opts)
		r.Token = t.Token
	}
	if err != nil {
		r.explain(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		panic(err)
	}
}

func (r *result) explain(err error) {
	r.Error = err.Error()
	var failed *azidentity.AuthenticationFailedError
	if r.Failed = errors.As(err, &failed); r.Failed && failed.RawResponse != nil {
		r.Status = failed.RawResponse.StatusCode
	}
	var final interface{ NonRetriable() }
	r.Final = errors.As(err, &final)
}

// options trust the authority in the file that MOVING_CA names.
func options() azcore.ClientOptions {
	pem, err := os.ReadFile(os.Getenv("MOVING_CA"))
	if err != nil {
		panic(err)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	t.TLSClientConfig.RootCAs = x509.NewCertPool()
	t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem)
	return azcore.ClientOptions{Transport: &http.Client{Transport: t}, Retry: policy.RetryOptions{MaxRetries: -1}}
}

// value is a variable that names an argument.
func value(name string) string {
	v, ok := os.LookupEnv("MOVING_" + strings.ToUpper(name))
	if !ok {
		panic("MOVING_" + strings.ToUpper(name) + " is not set")
	}
	return v
}
