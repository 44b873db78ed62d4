package managedid

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/files"
	"github.com/managedid/managedid/internal/tokens"
)

func TestDetection_inTheOrderOfMicrosoftsLibraries(t *testing.T) {
	const endpoint, header, thumbprint = "IDENTITY_ENDPOINT=https://localhost/e", "IDENTITY_HEADER=h", "IDENTITY_SERVER_THUMBPRINT=" + someThumbprint
	const msi, secret, imds = "MSI_ENDPOINT=http://localhost/m", "MSI_SECRET=s", "IMDS_ENDPOINT=http://localhost/i"
	for _, row := range []struct {
		name      string
		variables []string
		want      Source
	}{
		{"nothing", nil, SourceIMDS},
		{"row 1", []string{endpoint, header, thumbprint}, SourceServiceFabric},
		{"row 1 before all others", []string{endpoint, header, thumbprint, msi, secret, imds}, SourceServiceFabric},
		{"row 2", []string{endpoint, header}, SourceAppService},
		{"row 2 before all others: Container Apps has MSI_ENDPOINT too", []string{endpoint, header, msi}, SourceAppService},
		{"row 2 before Azure ML and Arc", []string{endpoint, header, msi, secret, imds}, SourceAppService},
		{"row 3", []string{msi, secret}, SourceAzureML},
		{"row 3 before Arc", []string{msi, secret, endpoint, imds}, SourceAzureML},
		{"row 4", []string{msi}, SourceCloudShell},
		{"row 4 before Arc", []string{msi, endpoint, imds}, SourceCloudShell},
		{"row 5", []string{endpoint, imds}, SourceAzureArc},
		{"row 6: an endpoint alone", []string{endpoint}, SourceIMDS},
		{"row 6: a header alone", []string{header, thumbprint, secret, imds}, SourceIMDS},
		{"an empty thumbprint is unset", []string{endpoint, header, "IDENTITY_SERVER_THUMBPRINT="}, SourceAppService},
		{"an empty header is unset", []string{endpoint, "IDENTITY_HEADER=", imds}, SourceAzureArc},
		{"an empty secret is unset", []string{msi, "MSI_SECRET="}, SourceCloudShell},
		{"all empty", []string{"IDENTITY_ENDPOINT=", "IDENTITY_HEADER=", "MSI_ENDPOINT=", "MSI_SECRET=", "IMDS_ENDPOINT="}, SourceIMDS},
	} {
		t.Run(row.name, func(t *testing.T) {
			blankEnvironment(t)
			setenv(t, row.variables...)
			detected, _ := detectSource()
			require.Equal(t, row.want, detected)
			c, err := NewManagedIdentityCredential(nil)
			require.NoError(t, err)
			require.Equal(t, string(row.want), c.source.name)
		})
	}
}

func TestDetection_ofTheArcAgentsFile(t *testing.T) {
	t.Setenv("ProgramFiles", filepath.Join("C:", "Program Files"))
	require.Equal(t, "/opt/azcmagent/bin/himds", arcAgent("linux"))
	require.Equal(t, filepath.Join("C:", "Program Files", "AzureConnectedMachineAgent", "himds.exe"), arcAgent("windows"))
	require.Empty(t, arcAgent("darwin"))
	t.Setenv("ProgramFiles", "")
	require.Empty(t, arcAgent("windows"))

	agent := filepath.Join(t.TempDir(), "himds")
	require.False(t, files.Exists(agent))
	require.False(t, files.Exists(""))
	require.NoError(t, os.WriteFile(agent, nil, 0o600))
	require.True(t, files.Exists(agent))
}

func TestNewManagedIdentityCredential_refuses(t *testing.T) {
	const imds = "AZURE_POD_IDENTITY_AUTHORITY_HOST"
	for _, row := range []struct {
		name     string
		variable string
		options  ManagedIdentityCredentialOptions
		want     string
	}{
		{"an empty client ID", "", ManagedIdentityCredentialOptions{ID: ClientID("")}, "the client ID of the identity is empty; correct it in the options or AZURE_CLIENT_ID"},
		{"a blank object ID", "", ManagedIdentityCredentialOptions{ID: ObjectID(" ")}, "the object ID of the identity is empty; correct it in the options or AZURE_CLIENT_ID"},
		{"an empty resource ID", "", ManagedIdentityCredentialOptions{ID: ResourceID("")}, "the resource ID of the identity is empty; correct it in the options or AZURE_CLIENT_ID"},
		{"an unknown source", "", ManagedIdentityCredentialOptions{Source: "VM"}, `unknown source "VM"; name one of the Source constants, or none`},
		{"a source without its endpoint", "", ManagedIdentityCredentialOptions{Source: SourceAppService}, "IDENTITY_ENDPOINT is not set"},
		{"an override without a scheme", imds + "=127.0.0.1:8421", ManagedIdentityCredentialOptions{}, imds + " is not an http or https URL"},
		{"an override with a name for a scheme", imds + "=localhost:8421", ManagedIdentityCredentialOptions{}, imds + " is not an http or https URL"},
		{"an override of another scheme", imds + "=ftp://localhost", ManagedIdentityCredentialOptions{}, imds + " is not an http or https URL"},
		{"an override without a host", imds + "=http://", ManagedIdentityCredentialOptions{}, imds + " is not an http or https URL"},
		{"an override that is a path", imds + "=/metadata", ManagedIdentityCredentialOptions{}, imds + " is not an http or https URL"},
		{"an override with a user", imds + "=http://u:p@localhost", ManagedIdentityCredentialOptions{}, imds + " is not an http or https URL"},
		{"an override with a fragment", imds + "=http://localhost#f", ManagedIdentityCredentialOptions{}, imds + " is not an http or https URL"},
		{"an override with a line break", imds + "=http://local\nhost", ManagedIdentityCredentialOptions{}, imds + " is not an http or https URL"},
		{"an override with a query", imds + "=http://localhost?x=1", ManagedIdentityCredentialOptions{}, imds + " has a query; give it scheme and host alone"},
	} {
		t.Run(row.name, func(t *testing.T) {
			blankEnvironment(t)
			if row.variable != "" {
				setenv(t, row.variable)
			}
			c, err := NewManagedIdentityCredential(&row.options)
			requireError(t, err, "ManagedIdentityCredential: "+row.want)
			require.Nil(t, c)
		})
	}
}

// credentialWith makes a credential, which sends nothing.
func credentialWith(t *testing.T, o *ManagedIdentityCredentialOptions) *ManagedIdentityCredential {
	t.Helper()
	c, err := NewManagedIdentityCredential(o)
	require.NoError(t, err)
	return c
}

func TestCache_ofTheProcessServesCredentialsThatHaveNothingOfTheirOwn(t *testing.T) {
	blankEnvironment(t)
	first := credentialWith(t, nil)
	require.Same(t, processCache.set(first.source.key), first.tokens)
	nothing := policy.RetryOptions{}
	addPolicy := []policy.Policy{&retryPolicy{}}
	for _, row := range []struct {
		name                     string
		options                  ManagedIdentityCredentialOptions
		sameTokens, sameEndpoint bool
	}{
		{"no options", ManagedIdentityCredentialOptions{}, true, true},
		{"the source by name", ManagedIdentityCredentialOptions{Source: SourceIMDS}, true, true},
		{"a logger", ManagedIdentityCredentialOptions{Logger: slog.Default()}, true, true},
		{"zero retry options", ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Retry: nothing}}, true, true},
		{"telemetry", ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Telemetry: policy.TelemetryOptions{Disabled: true}}}, true, true},
		{"an identity", ManagedIdentityCredentialOptions{ID: ClientID(someGUID)}, false, true},
		{"a transport", ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: http.DefaultClient}}, false, false},
		{"a policy per call", ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{PerCallPolicies: addPolicy}}, false, false},
		{"a policy per try", ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{PerRetryPolicies: addPolicy}}, false, false},
		{"retry options", ManagedIdentityCredentialOptions{ClientOptions: noRetries}, false, false},
		{"retry codes, if empty", ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Retry: policy.RetryOptions{StatusCodes: []int{}}}}, false, false},
		{"a cache", ManagedIdentityCredentialOptions{Cache: NewTokenCache(nil)}, false, false},
		{"a transport and that cache", ManagedIdentityCredentialOptions{Cache: &processCache, ClientOptions: noRetries}, true, true},
	} {
		c := credentialWith(t, &row.options)
		require.Equal(t, row.sameTokens, c.tokens == first.tokens, row.name)
		require.Equal(t, row.sameEndpoint, c.gate == first.gate, row.name)
		again := credentialWith(t, &row.options)
		require.Equal(t, row.sameEndpoint || row.options.Cache != nil, c.tokens == again.tokens, row.name)
	}
}

func TestCache_tellsIdentitiesAndEndpointsApart(t *testing.T) {
	blankEnvironment(t)
	cache := NewTokenCache(nil)
	with := func(id ManagedIDKind) *ManagedIdentityCredential {
		return credentialWith(t, &ManagedIdentityCredentialOptions{ID: id, Cache: cache})
	}
	seen := map[*tokens.Set]bool{}
	for _, id := range []ManagedIDKind{nil, ClientID(someGUID), ObjectID(someGUID), ResourceID(someGUID), ClientID(someGUID + "0")} {
		c := with(id)
		require.False(t, seen[c.tokens], "%v", id)
		seen[c.tokens] = true
	}
	require.Same(t, with(ClientID(someGUID)).tokens, with(ClientID(strings.ToUpper(someGUID))).tokens, "GUIDs have no case")
	setenv(t, "AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127.0.0.1:8421")
	other := with(nil)
	require.False(t, seen[other.tokens])
	require.Same(t, with(nil).gate, other.gate)
	setenv(t, "AZURE_POD_IDENTITY_AUTHORITY_HOST=")
	require.NotSame(t, with(nil).gate, other.gate)
}

func TestRetry_usersOptionsReplaceTheSources(t *testing.T) {
	teapot := func(resp *http.Response, err error) bool { return resp != nil && resp.StatusCode == http.StatusTeapot }
	for _, row := range []struct {
		name        string
		environment func(testing.TB)
		retry       policy.RetryOptions
		status      int
		want        int
	}{
		{"IMDS, 404", blankEnvironment, policy.RetryOptions{}, 404, 7},
		{"IMDS, 410", blankEnvironment, policy.RetryOptions{}, 410, 7},
		{"IMDS, 599", blankEnvironment, policy.RetryOptions{}, 599, 7},
		{"IMDS, 400", blankEnvironment, policy.RetryOptions{}, 400, 1},
		{"IMDS, 404, one retry", blankEnvironment, policy.RetryOptions{MaxRetries: 1}, 404, 2},
		{"IMDS, 404, none", blankEnvironment, policy.RetryOptions{MaxRetries: -1}, 404, 1},
		{"IMDS, 404, other codes", blankEnvironment, policy.RetryOptions{StatusCodes: []int{418}}, 404, 1},
		{"IMDS, 418, other codes", blankEnvironment, policy.RetryOptions{StatusCodes: []int{418}}, 418, 7},
		{"IMDS, 404, no codes", blankEnvironment, policy.RetryOptions{StatusCodes: []int{}}, 404, 1},
		{"IMDS, 404, ShouldRetry", blankEnvironment, policy.RetryOptions{ShouldRetry: teapot}, 404, 1},
		{"IMDS, 418, ShouldRetry", blankEnvironment, policy.RetryOptions{ShouldRetry: teapot}, 418, 7},
		{"IMDS, 404, delays", blankEnvironment, policy.RetryOptions{RetryDelay: time.Hour, MaxRetryDelay: time.Hour}, 404, 1},
		{"IMDS, no answer", blankEnvironment, policy.RetryOptions{MaxRetries: 2}, 0, 3},
		{"App Service, 500", appServiceEnvironment, policy.RetryOptions{}, 500, 6},
		{"App Service, 404", appServiceEnvironment, policy.RetryOptions{}, 404, 1},
		{"App Service, 404, its code", appServiceEnvironment, policy.RetryOptions{StatusCodes: []int{404}, MaxRetries: 2}, 404, 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				row.environment(t)
				requests := 0
				o := azcore.ClientOptions{Retry: row.retry, Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
					requests++
					if row.status == 0 {
						return nil, errors.New("no answer")
					}
					return imdsStatus(r, row.status), nil
				})}
				require.Error(t, get(t.Context(), credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: o}), vault).Err)
				require.Equal(t, row.want, requests)
			})
		})
	}
}

func TestRetry_usersLimitOfATryHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blankEnvironment(t)
		requests := 0
		o := azcore.ClientOptions{Retry: policy.RetryOptions{TryTimeout: time.Second, MaxRetries: 1, RetryDelay: time.Nanosecond},
			Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
				requests++
				deadline, ok := r.Context().Deadline()
				require.True(t, ok)
				require.Equal(t, time.Now().Add(time.Second), deadline)
				return nil, delayed(r, time.Hour)
			})}
		err := get(t.Context(), credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: o}), vault).Err
		requireGaveUp(t, err, "ManagedIdentityCredential: IMDS: not found at 169.254.169.254: no answer in time")
		notOfAContext(t, err)
		require.Equal(t, 2, requests)
	})
}

// azureMLEnvironment is that of a compute, with nothing else in it.
func azureMLEnvironment(tb testing.TB) {
	blankEnvironment(tb)
	setenv(tb, "MSI_ENDPOINT=http://127.0.0.1:46808/MSI/auth", "MSI_SECRET="+someHeader, "DEFAULT_IDENTITY_CLIENT_ID="+someClient)
}

func cloudShellEnvironment(tb testing.TB) {
	blankEnvironment(tb)
	setenv(tb, "MSI_ENDPOINT=http://localhost:50342/oauth2/token")
}

const (
	noDefault = "this compute has no identity with the client ID in DEFAULT_IDENTITY_CLIENT_ID, or none at all; " +
		"assign one, or give its client ID in the options or AZURE_CLIENT_ID"
	needsGUID    = "Azure ML needs a GUID for a client ID; correct it in the options or AZURE_CLIENT_ID"
	shellHasUser = "Cloud Shell can't take the client ID of an identity, nor any other ID, since its tokens are those of the signed-in user; " +
		"leave the ID out of the options, and AZURE_CLIENT_ID unset"
	notSupported = `{"error":{"code":"AudienceNotSupported","message":"Audience https://x is not a supported MSI token audience.\nhere"}}`
)

var azureMLFailures = []failure{
	{"no default identity", nil, 404, "SSO failure: unable to retrieve a token. Error Token service x. Token not found", ReasonIdentityNotFound, false,
		noDefault + " (404 Not Found)"},
	{"no client ID", nil, 400, "", ReasonIdentityNotFound, false, noDefault + " (400 Bad Request)"},
	{"not that identity", ClientID(someGUID), 404, "InternalError - :{\nInfo: Request failure status code: 404\n}", ReasonIdentityNotFound, false,
		noneWithID + " (404 Not Found)"},
	{"flat", ClientID(someGUID), 400, kestrel, ReasonIdentityNotFound, false, noneWithID + " (400 Bad Request: Unable to load the proper Managed Identity.)"},
	{"nested", ClientID(someGUID), 400, `{"error":{"code":"c","message":"m"}}`, ReasonIdentityNotFound, false, noneWithID + " (400 Bad Request, c: m)"},
	{"unknown resource", nil, 400, oauth("invalid_resource", "d"), ReasonInvalidScope, false, "the resource is unknown; correct the scope (400 Bad Request, invalid_resource: d)"},
	{"401", nil, 401, "", ReasonRejectedCredential, false, "MSI_SECRET was refused; restart the job if the platform has changed it (401 Unauthorized)"},
	{"403", nil, 403, "", ReasonRejectedCredential, false, "MSI_SECRET was refused; restart the job if the platform has changed it (403 Forbidden)"},
	{"vector 8: a redirect", nil, 302, "", "", false, "the request was refused (302 Found)"},
	{"429", nil, 429, "", ReasonThrottled, false, "the endpoint is throttling this host (429 Too Many Requests)"},
	{"500", nil, 500, `{"error":{"code":"InternalServerError"}}`, ReasonNotReady, false, "the endpoint is not ready, after all retries (500 Internal Server Error, InternalServerError)"},
	{"vector 7: HTML", nil, 200, "<html>" + secretToken + "</html>", ReasonMalformedAnswer, false, notJSON},
	{"vector 9: no token", nil, 200, `{"expires_in":3599}`, ReasonMalformedAnswer, false, noAccessToken},
}

var cloudShellFailures = []failure{
	{"a resource that is not on its list", nil, 400, notSupported, ReasonInvalidScope, false, "the resource is not one of those that Cloud Shell gives tokens for; " +
		"correct the scope, or use another credential (400 Bad Request, AudienceNotSupported: Audience https://x is not a supported MSI token audience. here)"},
	{"flat", nil, 400, oauth("invalid_resource", "d"), ReasonInvalidScope, false, "the resource is unknown; correct the scope (400 Bad Request, invalid_resource: d)"},
	{"nested", nil, 400, `{"error":{"code":"c","message":"m"}}`, "", false, "the request was refused (400 Bad Request, c: m)"},
	{"vector 8: a redirect", nil, 307, "", "", false, "the request was refused (307 Temporary Redirect)"},
	{"404", nil, 404, "", ReasonNotReady, false, "the endpoint is not ready, after all retries (404 Not Found)"},
	{"429", nil, 429, "", ReasonThrottled, false, "the endpoint is throttling this host (429 Too Many Requests)"},
	{"502", nil, 502, "<html>", ReasonNotReady, false, "the endpoint is not ready, after all retries (502 Bad Gateway)"},
	{"vector 7: HTML", nil, 200, "<html>" + secretToken + "</html>", ReasonMalformedAnswer, false, notJSON},
	{"vector 9: no token", nil, 200, `{"expires_in":"3599"}`, ReasonMalformedAnswer, false, noAccessToken},
}

func TestExplain_eachAnswerOfAzureMLAndCloudShell(t *testing.T) {
	azureMLEnvironment(t)
	explain(t, "Azure ML", azureMLFailures)
	cloudShellEnvironment(t)
	explain(t, "Cloud Shell", cloudShellFailures)
}

func TestVector17_nestedErrorOfCloudShell(t *testing.T) {
	cloudShellEnvironment(t)
	explain(t, "Cloud Shell", cloudShellFailures[:1])
}

func TestVector18_numbersOfAzureML(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		azureMLEnvironment(t)
		expires := time.Now().Add(85702 * time.Second)
		body := fmt.Sprintf(`{"access_token":%q,"expires_in":85702,"expires_on":%d,"resource":"https://vault.azure.net","token_type":"Bearer"}`, secretToken, expires.Unix())
		r := get(t.Context(), credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: tokenAnswer(body)}), vault)
		require.NoError(t, r.Err)
		require.True(t, r.Token.Token == secretToken)
		require.Equal(t, expires.UTC(), r.Token.ExpiresOn)
	})
}

func tokenAnswer(body string) azcore.ClientOptions {
	return azcore.ClientOptions{Transport: transportFunc(func(r *http.Request) (*http.Response, error) { return respond(r, 200, body), nil })}
}

func TestVector10_everyDateOfAppService(t *testing.T) {
	for _, version := range []string{"2019-08-01", "2017-09-01"} {
		for _, date := range []string{`"946771200"`, `946771200`, `"01/02/2000 00:00:00 PM +00:00"`, `"01/02/2000 00:00:00 +00:00"`,
			`"1/2/2000 12:00:00 AM +00:00"`, `"2000-01-02T00:00:00Z"`, `"2000-01-02 00:00:00"`} {
			t.Run(version+" "+date, func(t *testing.T) {
				bubble(t, func(t *testing.T) { // which begins a day before
					appServiceEnvironment(t)
					if version == appService2017.apiVersion {
						azureMLEnvironment(t)
					}
					o := ManagedIdentityCredentialOptions{Source: SourceAppService, ClientOptions: tokenAnswer(withToken(`,"expires_on":` + date))}
					r := get(t.Context(), credentialWith(t, &o), vault)
					require.NoError(t, r.Err)
					require.Equal(t, time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC), r.Token.ExpiresOn)
				})
			})
		}
	}
}

func TestVector11_anEmptyExpiresInOfAppService(t *testing.T) {
	appServiceEnvironment(t)
	expires := time.Now().Add(time.Hour)
	body := fmt.Sprintf(`{"access_token":"a","expires_on":"%d","expires_in":""}`, expires.Unix())
	r := get(t.Context(), credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: tokenAnswer(body)}), vault)
	require.NoError(t, r.Err)
	require.Equal(t, expires.Unix(), r.Token.ExpiresOn.Unix())
}

func TestCloudShell_sendsItsWholeBodyAtEachTry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cloudShellEnvironment(t)
		var bodies []string
		f := &fakeIMDS{Script: func(n int, r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			require.Equal(t, int64(len(body)), r.ContentLength)
			bodies = append(bodies, string(body))
			switch n {
			case 0:
				return imdsStatus(r, 503), nil
			case 1:
				return nil, errRefused
			case 2:
				return imdsStatus(r, 429, "Retry-After", "3"), nil
			}
			return nil, nil
		}}
		c := credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: f}})
		require.NoError(t, get(ctx0, c, "https://a.example/?b&c=d/.default").Err)
		const whole = "resource=https%3A%2F%2Fa.example%2F%3Fb%26c%3Dd"
		require.Equal(t, []string{whole, whole, whole, whole}, bodies)
	})
}

func TestHosts_refuseAnIDOrAnEndpointThatCannotWork(t *testing.T) {
	for _, row := range []struct {
		name        string
		environment func(testing.TB)
		variable    string
		options     ManagedIdentityCredentialOptions
		want        string
	}{
		{"Cloud Shell, client ID", cloudShellEnvironment, "", ManagedIdentityCredentialOptions{ID: ClientID(someGUID)}, shellHasUser},
		{"Cloud Shell, no endpoint", blankEnvironment, "", ManagedIdentityCredentialOptions{Source: SourceCloudShell}, "MSI_ENDPOINT is not set"},
		{"Cloud Shell, no URL", cloudShellEnvironment, "MSI_ENDPOINT=localhost:50342", ManagedIdentityCredentialOptions{}, "MSI_ENDPOINT is not an http or https URL"},
		{"Azure ML, object ID", azureMLEnvironment, "", ManagedIdentityCredentialOptions{ID: ObjectID(someGUID)},
			"Azure ML can't take the object ID of an identity, only its client ID"},
		{"Azure ML, a name", azureMLEnvironment, "", ManagedIdentityCredentialOptions{ID: ClientID("my-identity")}, needsGUID},
		{"Azure ML, a GUID in braces", azureMLEnvironment, "", ManagedIdentityCredentialOptions{ID: ClientID("{" + someGUID[2:] + "}")}, needsGUID},
		{"Azure ML, a dash elsewhere", azureMLEnvironment, "", ManagedIdentityCredentialOptions{ID: ClientID("9f3c1e5-28a47-4f6e-b1d0-2c7a5e94d816")}, needsGUID},
		{"Azure ML, no endpoint", blankEnvironment, "", ManagedIdentityCredentialOptions{Source: SourceAzureML}, "MSI_ENDPOINT is not set"},
		{"Azure ML, no URL", azureMLEnvironment, "MSI_ENDPOINT=:", ManagedIdentityCredentialOptions{}, "MSI_ENDPOINT is not an http or https URL"},
		{"App Service 2017, resource ID", azureMLEnvironment, "", ManagedIdentityCredentialOptions{Source: SourceAppService, ID: ResourceID(someResource)},
			"App Service 2017-09-01 can't take the resource ID of an identity, only its client ID"},
		{"App Service 2017 without its secret", azureMLEnvironment, "MSI_SECRET=", ManagedIdentityCredentialOptions{Source: SourceAppService}, "IDENTITY_ENDPOINT is not set"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.environment(t)
			setenv(t, strings.Fields(row.variable)...)
			c, err := NewManagedIdentityCredential(&row.options)
			requireError(t, err, "ManagedIdentityCredential: "+row.want)
			require.Nil(t, c)
		})
	}
}

func TestHosts_readTheirVariablesForEachRequestTogether(t *testing.T) {
	for _, row := range []struct {
		name        string
		environment func(testing.TB)
		options     ManagedIdentityCredentialOptions
		secret      string // the header
	}{
		{"Azure ML", azureMLEnvironment, ManagedIdentityCredentialOptions{}, "Secret"},
		{"App Service 2017-09-01", azureMLEnvironment, ManagedIdentityCredentialOptions{Source: SourceAppService}, "Secret"},
		{"Cloud Shell", cloudShellEnvironment, ManagedIdentityCredentialOptions{}, "Metadata"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.environment(t)
			var requests []*http.Request
			row.options.ClientOptions = record(&requests)
			c := credentialWith(t, &row.options)
			setenv(t, "MSI_ENDPOINT=http://localhost:2/other", "MSI_SECRET=rotated", "DEFAULT_IDENTITY_CLIENT_ID="+someGUID)
			require.NoError(t, get(t.Context(), c, vault).Err)
			require.Equal(t, "localhost:2", requests[0].URL.Host)
			require.Equal(t, row.secret == "Secret", requests[0].Header.Get(row.secret) == "rotated")
			require.NotEqual(t, someGUID, requests[0].URL.Query().Get("clientid"), "a credential has one identity")
			for variable, want := range map[string]string{"MSI_SECRET=": "MSI_SECRET is not set", "MSI_SECRET=a\nb": "MSI_SECRET has control characters; take them out",
				"MSI_ENDPOINT=": "MSI_ENDPOINT is not set"} {
				setenv(t, variable)
				if row.secret == "Secret" || variable == "MSI_ENDPOINT=" {
					err := get(t.Context(), c, "https://"+want).Err
					requireError(t, err, "ManagedIdentityCredential: "+row.name+": "+want)
					require.Equal(t, ReasonConfiguration, asCredentialError(t, err))
				}
				setenv(t, "MSI_ENDPOINT=http://localhost:2/other", "MSI_SECRET=rotated")
			}
			require.Len(t, requests, 1)
		})
	}
}

func TestCache_tellsHostsAtOneAddressApart(t *testing.T) {
	azureMLEnvironment(t)
	cache := NewTokenCache(nil)
	with := func(s Source, id ManagedIDKind) *tokens.Set {
		return credentialWith(t, &ManagedIdentityCredentialOptions{Source: s, ID: id, Cache: cache}).tokens
	}
	ml := with(SourceAzureML, nil)
	require.Same(t, ml, with("", ClientID(someClient)), "the default's own ID")
	require.NotSame(t, ml, with(SourceAppService, nil))
	require.NotSame(t, with(SourceCloudShell, nil), with(SourceAppService, nil))
	setenv(t, "DEFAULT_IDENTITY_CLIENT_ID="+someGUID)
	require.NotSame(t, ml, with(SourceAzureML, nil))
	setenv(t, "DEFAULT_IDENTITY_CLIENT_ID=")
	require.NotSame(t, ml, with(SourceAzureML, nil))
}

func TestSource_isTakenInAnyCase(t *testing.T) {
	blankEnvironment(t)
	setenv(t, "IDENTITY_ENDPOINT=http://localhost:1/msi", "IDENTITY_HEADER=h")
	for _, s := range []Source{"app service", "APP SERVICE", SourceAppService} {
		require.Equal(t, string(SourceAppService), credentialWith(t, &ManagedIdentityCredentialOptions{Source: s}).source.name)
	}
	_, err := NewManagedIdentityCredential(&ManagedIdentityCredentialOptions{Source: "AppService"})
	require.ErrorContains(t, err, `unknown source "AppService"`)
}

func TestEndpoint_thatMovesHasTokensOfItsOwn(t *testing.T) {
	appServiceEnvironment(t)
	cache := NewTokenCache(nil)
	asked := 0
	o := azcore.ClientOptions{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
		asked++
		return respond(r, 200, strings.Replace(tokenBody(r.URL.Query().Get("resource"), time.Now().Add(time.Hour)), secretToken, "of-"+r.URL.Port(), 1)), nil
	})}
	make := func() *ManagedIdentityCredential {
		return credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: o, Cache: cache})
	}
	token := func(c *ManagedIdentityCredential, scope string) string {
		got, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{scope}})
		require.NoError(t, err)
		return got.Token
	}
	first := make()
	require.Equal(t, "of-42356", token(first, vault))
	setenv(t, "IDENTITY_ENDPOINT=http://localhost:2/other")
	require.Equal(t, "of-2", token(first, "https://b.example"), "the address of the moment is asked")
	require.Equal(t, "of-42356", token(first, vault), "a valid token stays")
	require.Equal(t, "of-2", token(make(), "https://b.example"), "under the new name")
	setenv(t, "IDENTITY_ENDPOINT=http://localhost:42356/msi/token")
	require.Equal(t, "of-42356", token(make(), "https://b.example"), "never under the old one")
	require.Equal(t, 3, asked)
	setenv(t, "IDENTITY_ENDPOINT=nonsense")
	_, err := first.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://c.example"}})
	require.ErrorContains(t, err, "IDENTITY_ENDPOINT is not an http or https URL")
}
