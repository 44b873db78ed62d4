package managedid

import (
	"fmt"
	"net/http"
	"os"

	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/internal/text"
)

const (
	assertionExpired   = 700024 // or not valid yet
	certificateRefused = 700027 // not registered, expired, or not the one whose key signed
)

// refusals are the error codes of Entra that mean the same for every application.
var refusals = map[int]verdict{
	70021:   noFederatedCredential,
	700211:  noFederatedCredential,
	700212:  noFederatedCredential,
	700213:  noFederatedCredential,
	7002121: noFederatedCredential,
	7002137: noFederatedCredential,
	7002138: noFederatedCredential,
	700222:  noAssertion,
	700229:  noAssertion,
	700236:  noAssertion,
	90061: {reason: ReasonRejectedCredential,
		advice: "the assertion's issuer can't be reached; its discovery document and keys must be public"},
	7000215: {reason: ReasonRejectedCredential,
		advice: "the client secret is wrong; it has to be the secret's value, not its ID"},
	7000222: {reason: ReasonRejectedCredential, advice: "the client secret has expired; make a new one"},
	50196:   {advice: "the application asks again and again; share a TokenCache between its credentials"},
	500011:  unknownResource,
	70011:   unknownResource,
}

var noFederatedCredential = verdict{reason: ReasonRejectedCredential,
	advice: "no federated credential of the application has the assertion's issuer, subject and audience; add or " +
		"correct one, which takes some minutes to work"}

// noAssertion follows "Configure an application to trust a managed identity". Its codes are from reports of users.
var noAssertion = verdict{reason: ReasonRejectedCredential,
	advice: "this token is not taken as an assertion; use that of a user-assigned managed identity in the " +
		"application's tenant"}

var unknownResource = verdict{reason: ReasonInvalidScope,
	advice: "the resource is unknown in the tenant, or the scope is not of the form RESOURCE/.default; correct the " +
		"scope"}

// classify decides by Entra's error code, or else by OAuth's error ("Microsoft Entra authentication and authorization
// error codes").
func (e *entra) classify(a answer.Answer, tenant string) verdict {
	code := append(a.Codes, 0)[0]
	switch code {
	case assertionExpired:
		advice := "the assertion is outside its validity"
		if e.proof.age != nil {
			advice += e.proof.age()
		}
		return verdict{reason: ReasonRejectedCredential, advice: advice}
	case certificateRefused:
		if e.proof.signed {
			return verdict{reason: ReasonRejectedCredential,
				advice: "the certificate is not registered for the application, or has expired; register its public " +
					"part under Certificates & secrets, or correct AZURE_CLIENT_CERTIFICATE_PATH or the certificate " +
					"in the code"}
		}
	case 700211, 700212:
		if e.name == nameWorkloadIdentity && e.proxy == nil && os.Getenv(tokenProxyVariable) != "" {
			return verdict{reason: ReasonRejectedCredential, advice: needsTokenProxy}
		}
	case 700016:
		return verdict{reason: ReasonIdentityNotFound,
			advice: fmt.Sprintf("tenant %s has no application with client ID %s; correct AZURE_CLIENT_ID or "+
				"AZURE_TENANT_ID, or the options", text.Line(tenant), text.ID(e.clientID))}
	case 90002, 900023:
		advice := "correct AZURE_TENANT_ID or the options"
		if tenant != e.tenantID {
			advice = "the request named it"
		}
		return verdict{reason: ReasonIdentityNotFound,
			advice: fmt.Sprintf("tenant %s doesn't exist; %s", text.Line(tenant), advice)}
	}
	v, known := refusals[code]
	switch {
	case known:
		return v
	case a.Status == http.StatusTooManyRequests:
		return verdict{reason: ReasonThrottled, advice: "the application is throttled"}
	case a.Status >= 500, a.Code == "temporarily_unavailable":
		return verdict{reason: ReasonNotReady, advice: "not available, after all retries"}
	case a.Code == "invalid_resource", a.Code == "invalid_scope":
		return unknownResource
	case a.Code == "invalid_client":
		return verdict{reason: ReasonRejectedCredential, advice: "what proves the application's identity was refused"}
	}
	return verdict{advice: "the request was refused"}
}
