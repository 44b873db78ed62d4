package conformance

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
)

func TestRequest_resourceIsTheScopeWithoutOneDefault(t *testing.T) {
	blankEnvironment(t)
	var requests []*http.Request
	c, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ClientOptions: record(&requests)})
	require.NoError(t, err)
	for scope, resource := range map[string]string{
		"https://a.example/.default":          "https://a.example",
		"https://b.example":                   "https://b.example",
		"https://c.example//.default":         "https://c.example/",
		"https://d.example/":                  "https://d.example/",
		"https://e.example/.default/.default": "https://e.example/.default",
		"https://f.example/.Default":          "https://f.example/.Default",
		"api://" + someGUID + "/.default":     "api://" + someGUID,
		someGUID + "/.default":                someGUID,
		"https://g.example/a b&c=d/.default":  "https://g.example/a b&c=d",
	} {
		requests = nil
		require.NoError(t, get(t.Context(), c, scope).Err, scope)
		require.Len(t, requests, 1, scope)
		require.Equal(t, resource, requests[0].URL.Query().Get("resource"), scope)
	}
}

func TestRequest_scopesOfDifferentResourcesShareNoToken(t *testing.T) {
	blankEnvironment(t)
	for _, scopes := range [][]string{
		{"https://a.example/.default", "https://a.example/.default/.default"},
		{"https://a.example/.default/.default", "https://a.example/.default"},
		{"https://a.example/.default", "https://a.example//.default"},
	} {
		var requests []*http.Request
		c, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ClientOptions: record(&requests)})
		require.NoError(t, err)
		for _, scope := range scopes {
			require.NoError(t, get(t.Context(), c, scope).Err)
		}
		require.Len(t, requests, 2, "%q", scopes)
	}
}

func TestGetToken_needsExactlyOneScope(t *testing.T) {
	blankEnvironment(t)
	var requests []*http.Request
	c, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ClientOptions: record(&requests)})
	require.NoError(t, err)
	for _, row := range []struct {
		scopes []string
		want   string
	}{
		{nil, "GetToken needs exactly one scope, not 0"},
		{[]string{vault, vault}, "GetToken needs exactly one scope, not 2"},
		{[]string{""}, "the scope is empty; it has the form https://vault.azure.net/.default"},
		{[]string{"/.default"}, "the scope is empty; it has the form https://vault.azure.net/.default"},
	} {
		_, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: row.scopes})
		requireError(t, err, "ManagedIdentityCredential: IMDS: "+row.want)
		require.Equal(t, managedid.ReasonInvalidScope, asCredentialError(t, err))
	}
	require.Empty(t, requests)
}

func TestRequest_endpointsAreTakenAsTheyAre(t *testing.T) {
	const imdsPath, query = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net", "api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net"
	for variable, want := range map[string]string{
		"AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127.0.0.1:8421":       "http://127.0.0.1:8421" + imdsPath,
		"AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127.0.0.1:8421/":      "http://127.0.0.1:8421" + imdsPath,
		"AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127.0.0.1:8421//":     "http://127.0.0.1:8421" + imdsPath,
		"AZURE_POD_IDENTITY_AUTHORITY_HOST=https://nmi.example/a/b":     "https://nmi.example/a/b" + imdsPath,
		"AZURE_POD_IDENTITY_AUTHORITY_HOST=https://nmi.example/a/b/":    "https://nmi.example/a/b" + imdsPath,
		"AZURE_POD_IDENTITY_AUTHORITY_HOST=http://[fd00::1]:80":         "http://[fd00::1]:80" + imdsPath,
		"IDENTITY_ENDPOINT=http://127.0.0.1:41001/MSI/token/":           "http://127.0.0.1:41001/MSI/token/?" + query,
		"IDENTITY_ENDPOINT=http://172.16.0.9:8081/msi/token?y=1":        "http://172.16.0.9:8081/msi/token?" + query + "&y=1",
		"IDENTITY_ENDPOINT=http://172.16.0.9:8081/msi/token/?y=a%2Fb+c": "http://172.16.0.9:8081/msi/token/?" + query + "&y=a%2Fb+c",
		"IDENTITY_ENDPOINT=http://172.16.0.9:8081/m%2Fsi//token":        "http://172.16.0.9:8081/m%2Fsi//token?" + query,
		"IDENTITY_ENDPOINT=http://localhost:42356":                      "http://localhost:42356?" + query,
	} {
		t.Run(variable, func(t *testing.T) {
			blankEnvironment(t)
			setenv(t, variable)
			if strings.HasPrefix(variable, "IDENTITY_ENDPOINT") {
				setenv(t, "IDENTITY_HEADER="+someHeader)
			}
			var requests []*http.Request
			c, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ClientOptions: record(&requests)})
			require.NoError(t, err)
			require.NoError(t, get(t.Context(), c, vault).Err)
			require.Equal(t, want, requests[0].URL.String())
		})
	}
}

func TestRequest_readsTheVariablesOfTheMomentTogether(t *testing.T) {
	appServiceEnvironment(t)
	var requests []*http.Request
	c, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ClientOptions: record(&requests)})
	require.NoError(t, err)
	sent := func(scope string) string {
		requests = nil
		require.NoError(t, get(t.Context(), c, scope).Err)
		require.Len(t, requests, 1)
		return requests[0].URL.Host + " " + requests[0].Header.Get("X-Identity-Header")
	}
	require.Equal(t, "localhost:42356 "+someHeader, sent("https://a.example"))
	setenv(t, "IDENTITY_HEADER=rotated")
	require.Equal(t, "localhost:42356 rotated", sent("https://b.example"))
	setenv(t, "IDENTITY_ENDPOINT=http://localhost:42357/msi/token", "IDENTITY_HEADER=of the new one")
	require.Equal(t, "localhost:42357 of the new one", sent("https://c.example"))

	requests = nil
	setenv(t, "IDENTITY_HEADER=")
	err = get(t.Context(), c, "https://d.example").Err
	requireError(t, err, "ManagedIdentityCredential: App Service: IDENTITY_HEADER is not set")
	require.Equal(t, managedid.ReasonConfiguration, asCredentialError(t, err))
	setenv(t, "IDENTITY_ENDPOINT=", "IDENTITY_HEADER="+someHeader)
	err = get(t.Context(), c, "https://e.example").Err
	requireError(t, err, "ManagedIdentityCredential: App Service: IDENTITY_ENDPOINT is not set")
	require.Equal(t, managedid.ReasonConfiguration, asCredentialError(t, err))
	require.Empty(t, requests)
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestVector8_aCallersClientFollowsNoRedirectEither(t *testing.T) {
	appServiceEnvironment(t)
	var hosts []string
	client := &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
		hosts = append(hosts, r.URL.Host)
		return respond(r, http.StatusTemporaryRedirect, "", "Location", "http://elsewhere.example/"), nil
	})}
	o := noRetries
	o.Transport = client
	c, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ClientOptions: o})
	require.NoError(t, err)
	err = get(t.Context(), c, vault).Err
	requireError(t, err, "ManagedIdentityCredential: App Service: the request was refused (307 Temporary Redirect)")
	require.Equal(t, []string{"localhost:42356"}, hosts)
	require.Nil(t, client.CheckRedirect, "the caller's client is not written to")
}

// Nobody but the program itself could recover a panic in a flight's goroutine.
func TestRequest_aPolicyThatReturnsNothingIsAFailure(t *testing.T) {
	nothing := []policy.Policy{policyFunc(func(*policy.Request) (*http.Response, error) { return nil, nil })}
	for _, o := range []azcore.ClientOptions{{PerRetryPolicies: nothing}, {PerCallPolicies: nothing}} {
		bubble(t, func(t *testing.T) {
			appServiceEnvironment(t)
			c := credentialWith(t, &managedid.ManagedIdentityCredentialOptions{ClientOptions: o})
			err := get(ctx0, c, vault).Err
			require.Equal(t, managedid.ReasonNotReady, asCredentialError(t, err))
			require.Contains(t, err.Error(), "ManagedIdentityCredential: App Service: no token from localhost:42356: neither an answer nor an error came back")
		})
	}
}

// net/http's Transport may read a request's body after it has returned. What it reads then is not the next try's.
func TestRequest_eachTryHasABodyOfItsOwn(t *testing.T) {
	blankEnvironment(t)
	bubble(t, func(t *testing.T) {
		var first io.Reader
		var sent []string
		c, err := managedid.NewClientSecretCredential(someTenant, someClient, someSecret, &managedid.ClientSecretCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
			if first == nil {
				first = r.Body
				return respond(r, 503, ""), nil
			}
			_, _ = io.ReadFull(first, make([]byte, 20))
			body, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			again, err := r.GetBody()
			require.NoError(t, err)
			whole, err := io.ReadAll(again)
			require.NoError(t, err)
			sent = append(sent, string(body), string(whole))
			return entraToken(r, 1), nil
		})}})
		require.NoError(t, err)
		require.NoError(t, get(ctx0, c, vault).Err)
		for _, body := range sent {
			form, err := url.ParseQuery(body)
			require.NoError(t, err)
			require.True(t, form.Get("client_secret") == someSecret)
			require.Equal(t, someClient, form.Get("client_id"))
		}
	})
}

func TestFormat_isTheTypeAlone(t *testing.T) {
	blankEnvironment(t)
	t.Setenv("AZURE_TOKEN_CREDENTIALS", "prod")
	secret := newSecret(t, &fakeEntra{}, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{})
	chain, err := managedid.NewChainedTokenCredential([]azcore.TokenCredential{secret}, nil)
	require.NoError(t, err)
	defaults, err := managedid.NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	managed, err := managedid.NewManagedIdentityCredential(nil)
	require.NoError(t, err)
	for want, v := range map[string]any{"ClientSecretCredential": secret, "ChainedTokenCredential": chain, "DefaultAzureCredential": defaults,
		"ManagedIdentityCredential": managed, "TokenCache": managedid.NewTokenCache(nil)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
			require.Equal(t, want, fmt.Sprintf(verb, v))
		}
		require.Equal(t, "{Of:"+want+"}", fmt.Sprintf("%+v", struct{ Of any }{v}))
	}
}
