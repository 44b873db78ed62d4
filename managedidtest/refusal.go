package managedidtest

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// refusal is an error of Entra. Its code, text and status are from recorded answers, or from reports to the libraries
// that use Entra, unless a comment says otherwise.
type refusal struct {
	code   int // AADSTS…
	status int
	name   string // from RFC 6749, section 5.2, or defined by Entra
	text   string
}

// entraError is the body of an error. Its fields are in the order of a recorded answer.
type entraError struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
	URI           string `json:"error_uri"`
}

// asAnswer returns the error as an answer of the endpoint to the request.
func (p *refusal) asAnswer(endpoint Endpoint, r *http.Request, now time.Time) answer {
	stamp := now.UTC().Format("2006-01-02 15:04:05Z")
	trace, correlation := newGUID(), correlationID(r)
	a := jsonAnswer(p.status, endpoint, entraError{
		Error: p.name,
		Description: fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s",
			p.code, p.text, trace, correlation, stamp),
		Codes: []int{p.code}, Timestamp: stamp, TraceID: trace, CorrelationID: correlation,
		URI: "https://" + hostOf(r) + "/error?code=" + strconv.Itoa(p.code),
	})
	a.header.Set("X-Ms-Request-Id", trace)
	return a
}

var isGUID = regexp.MustCompile(`^(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString

// correlationID returns the client's correlation ID in lower case, or a new one if the request has none. It reads the
// header, and the query, where MSAL for JavaScript sends it.
func correlationID(r *http.Request) string {
	id := cmp.Or(r.Header.Get("Client-Request-Id"), r.URL.Query().Get("client-request-id"))
	if !isGUID(id) {
		return newGUID()
	}
	return strings.ToLower(id)
}

func badRequest(code int, name, format string, v ...any) *refusal {
	return &refusal{code, http.StatusBadRequest, name, fmt.Sprintf(format, v...)}
}

func badClient(code int, format string, v ...any) *refusal {
	return &refusal{code, http.StatusUnauthorized, "invalid_client", fmt.Sprintf(format, v...)}
}

// onlyPOST has a made-up status, since the reports quote only the page that a browser shows.
func onlyPOST(method string) *refusal {
	p := badRequest(900561, "invalid_request", "The endpoint only accepts POST requests. "+
		"Received a %s request.", method)
	p.status = http.StatusMethodNotAllowed
	return p
}

func missing(parameter string) *refusal {
	return badRequest(900144, "invalid_request", "The request body must contain the following "+
		"parameter: '%s'.", parameter)
}

func duplicated(parameter string) *refusal {
	return badRequest(9000411, "invalid_request", "The request is not properly formatted. The parameter "+
		"'%s' is duplicated.", parameter)
}

func unsupportedGrant(grant string) *refusal {
	return badRequest(70003, "unsupported_grant_type", "The app requested an unsupported grant type '%s'.", grant)
}

func unknownTenant(tenant string) *refusal {
	if slices.Contains(sharedTenants, strings.ToLower(tenant)) {
		return badRequest(50059, "invalid_request",
			"No tenant-identifying information found in either the request or implied by any provided credentials.")
	}
	if !isGUID(tenant) && !strings.Contains(tenant, ".") {
		return badRequest(900023, "invalid_request",
			"Specified tenant identifier '%s' is neither a valid DNS name, nor a valid external domain.", tenant)
	}
	return badRequest(90002, "invalid_request", "Tenant '%s' not found. "+
		"Check to make sure you have the correct tenant ID and are signing into the correct cloud. "+
		"Check with your subscription administrator, this may happen if there are no active "+
		"subscriptions for the tenant.", tenant)
}

func unknownApplication(clientID, tenant string) *refusal {
	return badRequest(700016, "unauthorized_client", "Application with identifier '%s' was not found in "+
		"the directory '%s'. "+
		"This can happen if the application has not been installed by the administrator of the tenant or consented "+
		"to by any user in the tenant. "+
		"You may have sent your authentication request to the wrong tenant.", clientID, tenant)
}

func unknownResource(resource, tenant string) *refusal {
	return badRequest(500011, "invalid_resource", "The resource principal named %s was not found in "+
		"the tenant named %s. "+
		"This can happen if the application has not been installed by the administrator of the tenant or consented "+
		"to by any user in the tenant. "+
		"You might have sent your authentication request to the wrong tenant.", resource, tenant)
}

func noDefaultScope(scope string) *refusal {
	return badRequest(1002012, "invalid_scope", "The provided value for scope %s is not valid. "+
		"Client credential flows must have a scope value with /.default suffixed to the resource identifier "+
		"(application ID URI).", scope)
}

// severalResources is from github.com/AzureAD/microsoft-authentication-library-for-js issue 6069.
func severalResources(scope string) *refusal {
	return badRequest(70011, "invalid_scope", "The provided request must include a 'scope' input parameter. "+
		"The provided value for the input parameter 'scope' is not valid. The scope %s is not valid.", scope)
}

// malformedClaims is the error for malformed requests. No report is known for malformed claims.
func malformedClaims() *refusal {
	return badRequest(9002313, "invalid_request", "Invalid request. Request is malformed or invalid.")
}

func unknownInstance() *refusal {
	return badRequest(50049, "invalid_instance", "Unknown or invalid instance.")
}

// noCredential is from github.com/MicrosoftDocs/azure-docs issue 30777.
func noCredential() *refusal {
	return badClient(7000216, "'client_assertion', 'client_secret' or 'request' is required for the "+
		"'client_credentials' grant type.")
}

func wrongSecret(clientID string) *refusal {
	return badClient(7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the "+
		"client secret value, "+
		"not the client secret ID, for a secret added to app '%s'.", clientID)
}

func expiredSecret(clientID string) *refusal {
	return badClient(7000222, "The provided client secret keys for app '%s' are expired. Visit the Azure portal to "+
		"create new keys for your app: "+
		"https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: "+
		"https://aka.ms/certCreds.", clientID)
}

func malformedAssertion() *refusal {
	return badRequest(50027, "invalid_request", "JWT token is invalid or malformed.")
}

func untimelyAssertion(now, from, until time.Time) *refusal {
	const form = "2006-01-02T15:04:05.0000000Z"
	return badClient(700024, "Client assertion is not within its valid time range. "+
		"Current time: %s, assertion valid from %s, expiry time of assertion %s. "+
		"Review the documentation at https://learn.microsoft.com/entra/identity-platform/certificate-credentials .",
		now.UTC().Format(form), from.UTC().Format(form), until.UTC().Format(form))
}

// noFederation is from github.com/Azure/azure-workload-identity issue 616.
func noFederation(presented assertion) *refusal {
	return badRequest(70021, "invalid_request", "No matching federated identity record found for presented assertion. "+
		"Assertion Issuer: '%s'. Assertion Subject: '%s'. Assertion Audience: '%s'. "+
		"https://docs.microsoft.com/en-us/azure/active-directory/develop/workload-identity-federation",
		presented.Issuer, presented.Subject, strings.Join(presented.Audience, ","))
}

// otherFederation is from github.com/Azure/azure-workload-identity issue 1200.
func otherFederation(code int, part, presented string) *refusal {
	return badClient(code, "No matching federated identity record found for presented assertion %s '%s'. "+
		"Check your federated identity credential Subject, Audience and Issuer against the presented assertion. "+
		"https://learn.microsoft.com/entra/workload-id/workload-identity-federation", part, presented)
}

// unknownKey is from github.com/Azure/azure-workload-identity issue 1232.
func unknownKey(id, issuer string) *refusal {
	return badClient(7000272, "The certificate with identifier %s used to sign the federated credential "+
		"could not be found in the metadata of identity provider %s. Please validate that your Identity Provider's "+
		"metadata exposes the key used to sign the incoming token.", id, issuer)
}

// otherIssuer, otherSubject and otherAudience are from Microsoft's page "Microsoft Entra authentication and
// authorization error codes". The statuses of the first two are made up.
func otherIssuer() *refusal {
	return badClient(700021, "Client assertion application identifier doesn't match 'client_id' parameter. "+
		"Review the documentation at https://learn.microsoft.com/entra/identity-platform/certificate-credentials .")
}

func otherSubject() *refusal {
	return badClient(50048, "Subject must match the issuer claim in the client assertion.")
}

// otherAudience has the text from github.com/AzureAD/microsoft-authentication-library-for-dotnet issue 2746.
func otherAudience() *refusal {
	return badClient(700023, "Client assertion audience claim does not match Realm issuer. "+
		"Review the documentation at "+
		"https://docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials .")
}

// unregistered is from github.com/AzureAD/microsoft-authentication-library-for-js issue 8339. Without a thumbprint, it
// is from github.com/keycloak/keycloak issue 19425.
func unregistered(thumbprint, reason, clientID string) *refusal {
	if thumbprint != "" {
		thumbprint = fmt.Sprintf(" Thumbprint of key used by client: '%s',", thumbprint)
	}
	return badClient(700027, "The certificate with identifier used to sign the client assertion is not "+
		"registered on application. "+
		"[Reason - %s,%s Please visit the Azure Portal, Graph Explorer or directly use MS Graph to see configured "+
		"keys for app Id '%s'.]",
		reason, thumbprint, clientID)
}

// notFederable is from Microsoft's Q&A 2139753.
func notFederable(issuer string) *refusal {
	return badRequest(700236, "invalid_request", "Entra ID tokens issued by issuer '%s' may not be used for "+
		"federated identity credential flows "+
		"for applications or managed identities registered in this tenant.", issuer)
}

// wrongSignature is the error for an assertion signed with a certificate. No report is known for a federated
// credential.
func wrongSignature() *refusal {
	return badClient(700027, "Client assertion contains an invalid signature. "+
		"[Reason - The provided signature value did not match the expected signature value.]")
}
