package managedid

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

const (
	badThumbprint = "IDENTITY_SERVER_THUMBPRINT is not the SHA-1 of a certificate, which is 40 hexadecimal digits, with or without colons and blanks"
	notHTTPS      = "IDENTITY_ENDPOINT is not an https URL, without which anybody could read the secret; correct it, " +
		"or if this is not Service Fabric, unset IDENTITY_SERVER_THUMBPRINT"
	clusterKnows = ", nor any other ID, since the cluster knows the application's identity; leave the ID out of the options, and AZURE_CLIENT_ID unset"
)

func TestServiceFabric_refusesAtOnceWhatCannotWork(t *testing.T) {
	for _, row := range []struct {
		name, variable string
		id             ManagedIDKind
		want           string
	}{
		{"a client ID", "", ClientID(someGUID), "Service Fabric can't take the client ID of an identity" + clusterKnows},
		{"an object ID", "", ObjectID(someGUID), "Service Fabric can't take the object ID of an identity" + clusterKnows},
		{"a resource ID", "", ResourceID(someResource), "Service Fabric can't take the resource ID of an identity" + clusterKnows},
		{"no endpoint", "IDENTITY_ENDPOINT=", nil, "IDENTITY_ENDPOINT is not set"},
		{"an endpoint in clear", "IDENTITY_ENDPOINT=http://localhost:2377/token", nil, notHTTPS},
		{"an endpoint without a host", "IDENTITY_ENDPOINT=https:///token", nil, "IDENTITY_ENDPOINT is not an http or https URL"},
		{"no thumbprint", "IDENTITY_SERVER_THUMBPRINT=", nil, badThumbprint},
		{"a digit too few", "IDENTITY_SERVER_THUMBPRINT=" + someThumbprint[1:], nil, badThumbprint},
		{"two too many", "IDENTITY_SERVER_THUMBPRINT=00" + someThumbprint, nil, badThumbprint},
		{"no digits", "IDENTITY_SERVER_THUMBPRINT=" + strings.Repeat("g", 40), nil, badThumbprint},
		{"dashes", "IDENTITY_SERVER_THUMBPRINT=01-" + someThumbprint[2:], nil, badThumbprint},
		{"the SHA-256", "IDENTITY_SERVER_THUMBPRINT=" + strings.Repeat("0a", 32), nil, badThumbprint},
	} {
		t.Run(row.name, func(t *testing.T) {
			serviceFabricEnvironment(t)
			setenv(t, strings.Fields(row.variable)...)
			c, err := NewManagedIdentityCredential(&ManagedIdentityCredentialOptions{ID: row.id, Source: SourceServiceFabric})
			requireError(t, err, "ManagedIdentityCredential: "+row.want)
			require.Nil(t, c)
		})
	}
}

func TestServiceFabric_takesAThumbprintHoweverItIsWritten(t *testing.T) {
	want, err := parsePin(someThumbprint)
	require.NoError(t, err)
	pairs := strings.Fields(strings.ReplaceAll(someThumbprint, "", " "))
	for _, written := range []string{strings.ToLower(someThumbprint), strings.ToUpper(someThumbprint), strings.Join(pairs, ":"),
		strings.Join(pairs, " "), " " + someThumbprint + "\r\n", strings.Join(pairs, "\t")} {
		p, err := parsePin(written)
		require.NoError(t, err)
		require.Equal(t, want, p)
	}
}

func TestServiceFabric_readsItsVariablesForEachRequestTogether(t *testing.T) {
	serviceFabricEnvironment(t)
	var requests []*http.Request
	c := credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: inPolicy(record(&requests).Transport)})
	for _, row := range []struct{ variables, want string }{
		{"IDENTITY_ENDPOINT=https://localhost:2/other?y=1 IDENTITY_HEADER=rotated IDENTITY_SERVER_THUMBPRINT=of-another", ""},
		{"IDENTITY_ENDPOINT=http://localhost:2377/token", notHTTPS},
		{"IDENTITY_ENDPOINT=HTTP://localhost:2377/token", notHTTPS},
		{"IDENTITY_ENDPOINT=", "IDENTITY_ENDPOINT is not set"},
		{"IDENTITY_ENDPOINT=https://localhost:2377 IDENTITY_HEADER=", "IDENTITY_HEADER is not set"},
	} {
		setenv(t, strings.Fields(row.variables)...)
		err := get(t.Context(), c, "https://resource.example/"+row.want).Err
		if row.want == "" {
			require.NoError(t, err)
			continue
		}
		requireError(t, err, "ManagedIdentityCredential: Service Fabric: "+row.want)
		require.Equal(t, ReasonConfiguration, asCredentialError(t, err))
	}
	require.Len(t, requests, 1)
	require.Equal(t, "https://localhost:2/other?api-version=2019-07-01-preview&resource=https%3A%2F%2Fresource.example%2F&y=1", requests[0].URL.String())
	require.True(t, requests[0].Header.Get("Secret") == "rotated")
}

func nested(code, message string) string {
	return fmt.Sprintf(`{"error":{"correlationId":%q,"code":%q,"message":%q}}`, someGUID, code, message)
}

const notAssigned = "the application has no managed identity, or IDENTITY_HEADER is not this process's; " +
	"assign an identity to the application and map it in its manifest, or restart the program"

var serviceFabricFailures = []failure{
	{"no identity", nil, 404, nested("ManagedIdentityNotFound", "Managed identity not found for the specified application host."), ReasonIdentityNotFound, false,
		notAssigned + " (404 Not Found, ManagedIdentityNotFound: Managed identity not found for the specified application host.)"},
	{"404", nil, 404, "", ReasonIdentityNotFound, false, notAssigned + " (404 Not Found)"},
	{"no secret", nil, 400, nested("SecretHeaderNotFound", "Secret is not found in the request headers."), ReasonRejectedCredential, false,
		"IDENTITY_HEADER did not arrive; something on the way, such as a policy, has taken out the header Secret " +
			"(400 Bad Request, SecretHeaderNotFound: Secret is not found in the request headers.)"},
	{"no resource", nil, 400, nested("ArgumentNullOrEmpty", "The parameter 'resource' should not be null or empty string."), ReasonInvalidScope, false,
		"a parameter is missing or empty; correct the scope (400 Bad Request, ArgumentNullOrEmpty: The parameter 'resource' should not be null or empty string.)"},
	{"another version", nil, 400, nested("InvalidApiVersion", "The api-version '' is not supported."), ReasonConfiguration, false,
		"the cluster doesn't take api-version 2019-07-01-preview; update its Service Fabric runtime, or correct IDENTITY_ENDPOINT, which is another service's " +
			"(400 Bad Request, InvalidApiVersion: The api-version '' is not supported.)"},
	{"unknown resource", nil, 400, oauth("invalid_resource", "d"), ReasonInvalidScope, false, "the resource is unknown; correct the scope (400 Bad Request, invalid_resource: d)"},
	{"another 400", nil, 400, nested("c", "m\nn"), "", false, "the request was refused (400 Bad Request, c: m n)"},
	{"the secret comes back", nil, 400, nested("c", "bad "+someHeader), "", false, "the request was refused (400 Bad Request, c: bad REDACTED)"},
	{"403", nil, 403, "", "", false, "the request was refused (403 Forbidden)"},
	{"vector 8: a redirect", nil, 307, "", "", false, "the request was refused (307 Temporary Redirect)"},
	{"408", nil, 408, "", ReasonNotReady, false, "the endpoint took too long over the request (408 Request Timeout)"},
	{"429", nil, 429, nested("TooManyRequests", ""), ReasonThrottled, false, "the endpoint is throttling this host (429 Too Many Requests, TooManyRequests)"},
	{"500", nil, 500, nested("InternalServerError", "An error occurred."), ReasonNotReady, false,
		"the endpoint failed, after all retries; a wrong resource is the usual cause, so check the scope, and whether the resource ends with a slash " +
			"(500 Internal Server Error, InternalServerError: An error occurred.)"},
	{"503", nil, 503, "<html>", ReasonNotReady, false, "the endpoint is not ready, after all retries (503 Service Unavailable)"},
	{"vector 7: HTML", nil, 200, "<html>" + secretToken + "</html>", ReasonMalformedAnswer, false, notJSON},
	{"vector 9: no token", nil, 200, `{"expires_on":1565244611}`, ReasonMalformedAnswer, false, noAccessToken},
}

func TestExplain_eachAnswerOfServiceFabric(t *testing.T) {
	serviceFabricEnvironment(t)
	explain(t, "Service Fabric", serviceFabricFailures)
}

func TestServiceFabric_triesAgainWhatMayPass(t *testing.T) {
	for status, want := range map[int]int{404: 1, 400: 1, 500: 6, 503: 6} {
		bubble(t, func(t *testing.T) {
			em := managedidtest.New(nil)
			em.Setenv(t, managedidtest.ServiceFabric)
			em.Inject(managedidtest.Fault{Endpoint: managedidtest.ServiceFabric, Status: status})
			require.Error(t, get(ctx0, credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: inPolicy(em)}), vault).Err)
			require.Len(t, em.Requests(), want, status)
		})
	}
}

func TestServiceFabric_takesTheExpiryAsNumberAndAsText(t *testing.T) {
	serviceFabricEnvironment(t)
	expires := time.Now().Add(time.Hour)
	for _, form := range []string{`{"token_type":"Bearer","access_token":"a","expires_on":%d,"resource":"r"}`, `{"access_token":"a","expires_on":"%d"}`} {
		r := get(ctx0, credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: inPolicy(tokenAnswer(fmt.Sprintf(form, expires.Unix())).Transport)}), vault)
		require.NoError(t, r.Err)
		require.Equal(t, expires.Unix(), r.Token.ExpiresOn.Unix())
	}
}

const hit, cp1, refresh = "a hit", "xms_cc=cp1", "token_sha256_to_refresh="

// fabricChallenges are what is asked, one after the other, and the parameters of the request that it takes, or that it takes
// none. A step is "later" for the token's end, claims or none, "CAE" or not, "=", and what is sent, with HASH for that of the
// last token of its kind.
var fabricChallenges = []struct {
	name  string
	steps []string
}{
	{"neither", []string{"=", "=" + hit, "later=", "=" + hit}},
	{"CAE", []string{"CAE=" + cp1, "CAE=" + hit, "=", "=" + hit, "CAE=" + hit, "later CAE=" + cp1}},
	{"a challenge", []string{"=", "A=" + refresh + "HASH", "A=" + hit, "=" + hit, "B=" + refresh + "HASH", "B=" + hit}},
	{"a challenge that finds no token", []string{"A=", "A=" + hit, "=" + hit, "later A=", "later B="}},
	{"a challenge with CAE", []string{"CAE=" + cp1, "A CAE=" + refresh + "HASH&" + cp1, "A CAE=" + hit, "CAE=" + hit, "B CAE=" + refresh + "HASH&" + cp1}},
	{"a challenge with CAE that finds no such token", []string{"=", "A CAE=" + cp1, "A=" + refresh + "HASH", "A CAE=" + hit}},
	{"a challenge that is no JSON", []string{"=", "{%=" + refresh + "HASH", "{%=" + hit}},
	{"a refresh without one", []string{"=", "A=" + refresh + "HASH", "later=", "A=" + refresh + "HASH"}},
}

func TestServiceFabric_isToldOfChallengesAndOfCAE(t *testing.T) {
	for _, row := range fabricChallenges {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				em := managedidtest.New(nil)
				em.Setenv(t, managedidtest.ServiceFabric)
				c := credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: inPolicy(em)})
				last := map[bool]string{} // with CAE and without
				for i, step := range row.steps {
					asked, want, _ := strings.Cut(step, "=")
					asked, later := strings.CutPrefix(asked, "later")
					claims, cae := strings.CutSuffix(strings.TrimSpace(asked), "CAE")
					if later {
						time.Sleep(time.Hour)
					}
					before := len(em.Requests())
					token, err := c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: []string{vault}, Claims: strings.TrimSpace(claims), EnableCAE: cae})
					require.NoError(t, err)
					require.Equal(t, want == hit, token.Token == last[cae], "step %d", i)
					sent := hit
					if log := em.Requests(); len(log) > before {
						require.Len(t, log, before+1)
						q := log[before].Query
						require.Equal(t, []string{"2019-07-01-preview", "https://vault.azure.net"}, append(q["api-version"], q["resource"]...))
						q.Del("api-version")
						q.Del("resource")
						sent = q.Encode()
					}
					require.Equal(t, strings.ReplaceAll(want, "HASH", fmt.Sprintf("%x", sha256.Sum256([]byte(last[cae])))), sent, "step %d", i)
					last[cae] = token.Token
				}
			})
		})
	}
}

func TestVector23_hashOfARevokedToken(t *testing.T) {
	serviceFabricEnvironment(t)
	var queries []url.Values
	o := inPolicy(transportFunc(func(r *http.Request) (*http.Response, error) {
		queries = append(queries, r.URL.Query())
		return respond(r, 200, fmt.Sprintf(`{"access_token":"test_token","expires_on":%d}`, time.Now().Add(time.Hour).Unix())), nil
	}))
	c := credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: o})
	require.NoError(t, get(ctx0, c, vault).Err)
	require.NoError(t, getWithClaims(c, claimsA).Err)
	require.Len(t, queries, 2)
	require.False(t, queries[0].Has("token_sha256_to_refresh"))
	require.Equal(t, []string{"cc0af97287543b65da2c7e1476426021826cab166f1e063ed012b855ff819656"}, queries[1]["token_sha256_to_refresh"])
	require.Len(t, queries[1], 3, "the claims are not sent")
}
