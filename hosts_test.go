package managedid

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"

	"github.com/managedid/managedid/internal/tokens"
)

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
		require.NoError(t, r.err)
		require.True(t, r.token.Token == secretToken)
		require.Equal(t, expires.UTC(), r.token.ExpiresOn)
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
					require.NoError(t, r.err)
					require.Equal(t, time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC), r.token.ExpiresOn)
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
	require.NoError(t, r.err)
	require.Equal(t, expires.Unix(), r.token.ExpiresOn.Unix())
}

func TestCloudShell_sendsItsWholeBodyAtEachTry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cloudShellEnvironment(t)
		var bodies []string
		f := &fakeIMDS{script: func(n int, r *http.Request) (*http.Response, error) {
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
		require.NoError(t, get(ctx0, c, "https://a.example/?b&c=d/.default").err)
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
			require.NoError(t, get(t.Context(), c, vault).err)
			require.Equal(t, "localhost:2", requests[0].URL.Host)
			require.Equal(t, row.secret == "Secret", requests[0].Header.Get(row.secret) == "rotated")
			require.NotEqual(t, someGUID, requests[0].URL.Query().Get("clientid"), "a credential has one identity")
			for variable, want := range map[string]string{"MSI_SECRET=": "MSI_SECRET is not set", "MSI_SECRET=a\nb": "MSI_SECRET has control characters; take them out",
				"MSI_ENDPOINT=": "MSI_ENDPOINT is not set"} {
				setenv(t, variable)
				if row.secret == "Secret" || variable == "MSI_ENDPOINT=" {
					err := get(t.Context(), c, "https://"+want).err
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

func TestEmulator_cloudShellAzureMLAndOldAppService(t *testing.T) {
	for _, row := range []struct {
		host    managedidtest.Endpoint
		source  Source
		windows bool
		ids     []ManagedIDKind
		fault   managedidtest.Endpoint
	}{
		{managedidtest.CloudShell, "", false, []ManagedIDKind{nil}, managedidtest.CloudShell},
		{managedidtest.AzureML, "", false, []ManagedIDKind{nil, ClientID(someGUID)}, managedidtest.AzureML},
		{managedidtest.AppService2017, SourceAppService, false, []ManagedIDKind{nil, ClientID(someGUID)}, managedidtest.AppService},
		{managedidtest.AppService2017, SourceAppService, true, []ManagedIDKind{nil, ClientID(someGUID)}, managedidtest.AppService},
		{managedidtest.AppService2017, "", false, []ManagedIDKind{nil, ClientID(someGUID)}, managedidtest.AppService}, // taken for Azure ML
	} {
		t.Run(string(row.host)+" as "+string(row.source), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				em := managedidtest.New(&managedidtest.Options{WindowsDates: row.windows, UserAssigned: []managedidtest.Identity{{ClientID: someGUID}}})
				em.Setenv(t, row.host)
				for _, id := range row.ids {
					em.Inject(managedidtest.Fault{Endpoint: row.fault, Count: 1, Status: 503})
					c := credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}, Source: row.source, ID: id})
					r := get(ctx0, c, vault)
					require.NoError(t, r.err)
					require.Equal(t, time.Hour, time.Until(r.token.ExpiresOn).Round(time.Minute))
					log := em.Requests()
					require.Len(t, log, 2)
					require.Equal(t, log[0].Form, log[1].Form)
					switch {
					case id != nil:
						require.Equal(t, someGUID, log[1].Identity)
					case row.host != managedidtest.CloudShell:
						require.Equal(t, em.SystemAssigned().ClientID, log[1].Identity)
					}
					em = managedidtest.New(&managedidtest.Options{WindowsDates: row.windows, UserAssigned: em.UserAssigned()})
					em.Setenv(t, row.host)
				}
			})
		})
	}
}

func TestEmulator_aSecretThatWasRotatedAndAnIdentityThatIsNotThere(t *testing.T) {
	for host, want := range map[managedidtest.Endpoint]string{
		managedidtest.AzureML:        "MSI_SECRET was refused; restart the job if the platform has changed it (403 Forbidden)",
		managedidtest.AppService2017: "MSI_SECRET was refused; restart the app if the platform has changed it (403 Forbidden)",
	} {
		em := managedidtest.New(nil)
		em.Setenv(t, host)
		o := ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}, ID: ClientID(someGUID)}
		if host == managedidtest.AppService2017 {
			o.Source = SourceAppService
		}
		c := credentialWith(t, &o)
		require.ErrorContains(t, get(ctx0, c, vault).err, noneWithID)
		em.RotateSecret()
		require.ErrorContains(t, get(ctx0, c, "https://a.example").err, want)
	}
}
