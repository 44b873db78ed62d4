package managedid

import (
	"net/http"

	"github.com/managedid/managedid/internal/answer"
)

// The two versions of App Service's endpoint ("How to use managed identities for App Service and Azure Functions",
// section REST endpoint reference).
var (
	appService2019 = hostEndpoint{"IDENTITY_ENDPOINT", "IDENTITY_HEADER", identityHeader, "2019-08-01",
		[3]string{"client_id", "object_id", "mi_res_id"}}
	appService2017 = hostEndpoint{"MSI_ENDPOINT", "MSI_SECRET", "Secret", "2017-09-01",
		[3]string{kindClientID: "clientid"}}
)

// appServiceSource returns the endpoint of App Service, Functions and Container Apps. An old host sets only the
// variables of version 2017-09-01. Detection takes such a host for Azure ML, so the caller must name the source.
func appServiceSource(id ManagedIDKind) (*source, error) {
	e, name := appService2019, string(SourceAppService)
	if !e.isSet() && appService2017.isSet() {
		e, name = appService2017, name+" "+appService2017.apiVersion
	}
	s, err := e.source(name, id)
	if err == nil {
		s.classify = func(a answer.Answer) verdict { return classifyAppService(a, e.secret, id) }
	}
	return s, err
}

func classifyAppService(a answer.Answer, secret string, id ManagedIDKind) verdict {
	switch {
	case a.Status == http.StatusBadRequest:
		return verdict{reason: ReasonIdentityNotFound, advice: missingIdentity(id)}
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden:
		return verdict{reason: ReasonRejectedCredential,
			advice: secret + " was refused; restart the app if the platform has changed it"}
	case a.Status == http.StatusInternalServerError:
		return verdict{reason: ReasonNotReady,
			advice: "the endpoint failed, after all retries; it says so for an unknown resource too, so check the " +
				"scope"}
	case a.Status == http.StatusNotFound, a.Status >= 500:
		return verdict{reason: ReasonNotReady, advice: "the endpoint is not ready, after all retries"}
	}
	return verdict{advice: "the request was refused"}
}
