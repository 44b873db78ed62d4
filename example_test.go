package managedid_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
)

// The default chain, here beside an emulator that takes the host's place.
func ExampleNewDefaultAzureCredential() {
	host := managedidtest.NewServer(nil)
	defer host.Close()
	for name, value := range host.Environ(managedidtest.AppService) {
		defer os.Setenv(name, os.Getenv(name))
		os.Setenv(name, value)
	}
	cred, err := managedid.NewDefaultAzureCredential(nil)
	if err != nil {
		panic(err)
	}
	for range 1000 {
		_, err = cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
		if err != nil {
			panic(err)
		}
	}
	fmt.Println(len(host.Requests()), "request")
	// Output: 1 request
}

// What the default chain would try on this host, here an emulator's, and why.
func ExampleDefaultAzureCredential_Explain() {
	for _, name := range []string{"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_CLIENT_SECRET"} {
		defer os.Setenv(name, os.Getenv(name))
	}
	os.Setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:41741/msi/token")
	os.Setenv("IDENTITY_HEADER", "a secret")
	os.Setenv("AZURE_CLIENT_SECRET", "another")
	cred, err := managedid.NewDefaultAzureCredential(nil)
	if err != nil {
		panic(err)
	}
	fmt.Print(cred.Explain(context.Background(), nil))
	// Output:
	// DefaultAzureCredential
	// 1. EnvironmentCredential        partially configured
	//    problem   AZURE_CLIENT_SECRET is set, but not AZURE_TENANT_ID and AZURE_CLIENT_ID; to skip this credential, set AZURE_TOKEN_CREDENTIALS to the name of another
	//    set       AZURE_CLIENT_SECRET
	// 2. WorkloadIdentityCredential   not configured
	//    because   AZURE_FEDERATED_TOKEN_FILE is not set
	// 3. ManagedIdentityCredential    configured
	//    source    App Service http://127.0.0.1:41741/msi/token
	//    because   IDENTITY_ENDPOINT and IDENTITY_HEADER are set
	//    identity  the host's default identity
	//    set       IDENTITY_ENDPOINT=http://127.0.0.1:41741/msi/token
	//    set       IDENTITY_HEADER
}

// A user-assigned identity, named by its client ID, which the host doesn't have.
func ExampleNewManagedIdentityCredential() {
	cred, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: managedidtest.New(nil)}, // leave it out on Azure
		Source:        managedid.SourceIMDS,
		ID:            managedid.ClientID("7cf2bd0d-0000-4000-8000-000000000001"),
	})
	if err != nil {
		panic(err)
	}
	_, err = cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
	var e *managedid.AuthenticationFailedError
	if errors.As(err, &e) && e.Reason == managedid.ReasonIdentityNotFound {
		fmt.Println(e)
	}
	// Output: ManagedIdentityCredential: IMDS: no identity with client ID 7cf2bd0d-0000-4000-8000-000000000001 is assigned to this host; assign it, or correct the ID in the options or AZURE_CLIENT_ID (400 Bad Request, invalid_request: Identity not found); see https://github.com/managedid/managedid/blob/v0.1.0/docs/troubleshooting.md#identity-not-found
}

// A pod of AKS with an identity binding, here beside an emulator of its cluster.
func ExampleNewWorkloadIdentityCredential_identityBinding() {
	cluster := managedidtest.NewServer(nil)
	defer cluster.Close()
	dir, err := os.MkdirTemp("", "pod")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if _, err := cluster.NewTokenProxy(dir); err != nil {
		panic(err)
	}
	for name, value := range cluster.Environ(managedidtest.IdentityBinding) { // on AKS the webhook has set them
		defer os.Setenv(name, os.Getenv(name))
		os.Setenv(name, value)
	}
	cred, err := managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{EnableAzureProxy: true})
	if err != nil {
		panic(err)
	}
	_, err = cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
	fmt.Println(len(cluster.Requests()), err)
	// Output: 1 <nil>
}

// A pod with workload identity, here beside an emulator that takes the place of Entra and the cluster.
func ExampleNewWorkloadIdentityCredential() {
	entra := managedidtest.New(nil)
	dir, err := os.MkdirTemp("", "pod")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file, err := entra.NewTokenFile(dir, nil)
	if err != nil {
		panic(err)
	}
	cred, err := managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{ // nil on AKS: the webhook has set variables
		ClientOptions: azcore.ClientOptions{Transport: entra},
		TenantID:      entra.TenantID(),
		ClientID:      entra.Applications()[0].ClientID,
		TokenFilePath: file.Path,
	})
	if err != nil {
		panic(err)
	}
	token, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
	fmt.Println(token.Token != "", err)
	// Output: true <nil>
}

// A managed identity's token is the assertion of an application, which may have service principals in other tenants, here
// beside an emulator that takes the place of the host and of Entra.
func ExampleNewClientAssertionCredential() {
	const tenant, customer = "72f988bf-86f1-41af-91ab-2d7cd011db47", "fabrikam.onmicrosoft.com"
	identity := managedidtest.Identity{ClientID: "5a9c6a5f-6e6f-4b3e-8c0d-0d4c6a1f2b11", ObjectID: "0c1b5f0e-2d4a-4f0b-9a77-6f1d2f3c4d55"}
	azure := managedidtest.New(&managedidtest.Options{
		TenantID: tenant, OtherTenants: []string{customer}, UserAssigned: []managedidtest.Identity{identity},
		Applications: []managedidtest.Application{{Federated: []managedidtest.FederatedCredential{
			{Issuer: "https://login.microsoftonline.com/" + tenant + "/v2.0", Subject: identity.ObjectID}}}},
	})
	options := azcore.ClientOptions{Transport: azure} // leave it out on Azure
	host, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{
		ClientOptions: options, Source: managedid.SourceIMDS, ID: managedid.ClientID(identity.ClientID)})
	if err != nil {
		panic(err)
	}
	getAssertion := func(ctx context.Context) (string, error) {
		// api://AzureADTokenExchangeUSGov and api://AzureADTokenExchangeChina in other clouds
		t, err := host.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"api://AzureADTokenExchange/.default"}})
		return t.Token, err
	}
	cred, err := managedid.NewClientAssertionCredential(customer, azure.Applications()[0].ClientID, getAssertion,
		&managedid.ClientAssertionCredentialOptions{ClientOptions: options})
	if err != nil {
		panic(err)
	}
	token, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
	fmt.Println(token.Token != "", err)
	for _, r := range azure.Requests() {
		fmt.Println(r.Method, r.Path, r.Resource)
	}
	// Output:
	// true <nil>
	// GET /metadata/identity/oauth2/token api://AzureADTokenExchange
	// POST /fabrikam.onmicrosoft.com/oauth2/v2.0/token https://vault.azure.net
}

// An application with a certificate, from a file in PEM or PKCS #12.
func ExampleNewClientCertificateCredential() {
	data, err := os.ReadFile("testdata/certs/openssl3.pfx")
	if err != nil {
		panic(err)
	}
	certs, key, err := managedid.ParseCertificates(data, []byte("made-up pässword"))
	if err != nil {
		panic(err)
	}
	entra := managedidtest.New(&managedidtest.Options{Applications: []managedidtest.Application{{Certificates: certs[:1]}}})
	cred, err := managedid.NewClientCertificateCredential(entra.TenantID(), entra.Applications()[0].ClientID, certs, key,
		&managedid.ClientCertificateCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: entra}}) // leave it out on Azure
	if err != nil {
		panic(err)
	}
	token, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
	fmt.Println(token.Token != "", err)
	// Output: true <nil>
}

// An application with a client secret that is the wrong one.
func ExampleNewClientSecretCredential() {
	entra := managedidtest.New(nil)
	cred, err := managedid.NewClientSecretCredential(entra.TenantID(), entra.Applications()[0].ClientID, "wrong", &managedid.ClientSecretCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: entra}, // leave it out on Azure
	})
	if err != nil {
		panic(err)
	}
	_, err = cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
	var e *managedid.AuthenticationFailedError
	if errors.As(err, &e) && e.Reason == managedid.ReasonRejectedCredential {
		fmt.Println(e)
	}
	// Output: ClientSecretCredential: Entra: the client secret is wrong; it has to be the secret's value, not its ID (401 Unauthorized, invalid_client: AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '58aa5369-580c-5cf8-8a88-98faaaf5b3d2'.); see https://github.com/managedid/managedid/blob/v0.1.0/docs/troubleshooting.md#rejected-credential
}

// A cache of one's own, whose tokens are refreshed so early that they outlive an outage of half an hour.
func ExampleNewTokenCache() {
	cred, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: managedidtest.New(nil)}, // leave it out on Azure
		Source:        managedid.SourceIMDS,
		Cache:         managedid.NewTokenCache(&managedid.TokenCacheOptions{RefreshBefore: 30 * time.Minute}),
	})
	if err != nil {
		panic(err)
	}
	token, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
	if err != nil {
		panic(err)
	}
	fmt.Println(token.ExpiresOn.Sub(token.RefreshOn))
	// Output: 30m0s
}

// onPremises is a link of one's own, for a chain.
type onPremises struct{}

func (onPremises) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, managedid.NewCredentialUnavailableError("onPremises: not in the data center")
}

func ExampleNewChainedTokenCredential() {
	identity, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: managedidtest.New(nil)}, // leave it out on Azure
		Source:        managedid.SourceIMDS,
	})
	if err != nil {
		panic(err)
	}
	chain, err := managedid.NewChainedTokenCredential([]azcore.TokenCredential{onPremises{}, identity}, nil)
	if err != nil {
		panic(err)
	}
	token, err := chain.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
	fmt.Println(token.Token != "", err)
	// Output: true <nil>
}

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
	// Output: AzureCLICredential: az: the program az is not on the PATH; install it, or correct the PATH; see https://github.com/managedid/managedid/blob/v0.1.0/docs/troubleshooting.md#absent
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
	// Output: AzureDeveloperCLICredential: azd: the program azd is not on the PATH; install it, or correct the PATH; see https://github.com/managedid/managedid/blob/v0.1.0/docs/troubleshooting.md#absent
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
