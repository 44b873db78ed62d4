package managedid

import (
	"fmt"
	"net/http"
	"os"
	"strings"
)

// azureML is the endpoint of Azure Machine Learning's computes, which began as App Service's of 2017.
var azureML = appService2017

// azureMLSource names the default identity by DEFAULT_IDENTITY_CLIENT_ID ("Set up authentication between Azure Machine Learning
// and other services"). Without that it names none, as MSAL for Python: an old App Service host, which is taken for Azure ML,
// doesn't have the variable. It is read here, not for each request, since a credential's tokens are those of one identity.
func azureMLSource(id ManagedIDKind) (*source, error) {
	named := id
	if id == nil {
		if v := os.Getenv("DEFAULT_IDENTITY_CLIENT_ID"); v != "" {
			named = ClientID(v)
		}
	} else if id.idKind() == kindClientID && !isGUID(id.String()) {
		// to a request with another the endpoint of a compute instance gives a token of the signed-in user
		// (github.com/Azure/azure-sdk-for-python pull request 36047)
		return nil, fmt.Errorf("%s needs a GUID for a client ID; correct it in the options or AZURE_CLIENT_ID", SourceAzureML)
	}
	s, err := azureML.source(string(SourceAzureML), named)
	if err != nil {
		return nil, err
	}
	s.identity = identityName(named)
	if id == nil && named != nil {
		s.subject = "client ID " + shownID(named.String())
		s.variables = append(s.variables, "DEFAULT_IDENTITY_CLIENT_ID")
	}
	s.explain = func(a answer) verdict { return explainAzureML(a, id) }
	return s, nil
}

// explainAzureML goes by the status. Bodies seen are text: "SSO failure: unable to retrieve a token. Error Token service X. Token
// not found" (github.com/Azure/azure-cli issue 28220), and one that names a 404 (github.com/Azure/azure-sdk-for-python issue
// 31071).
func explainAzureML(a answer, id ManagedIDKind) verdict {
	switch {
	case a.status == http.StatusBadRequest, a.status == http.StatusNotFound:
		advice := missingIdentity(id)
		if id == nil {
			advice = "this compute has no identity with the client ID in DEFAULT_IDENTITY_CLIENT_ID, or none at all; " +
				"assign one, or give its client ID in the options or AZURE_CLIENT_ID"
		}
		return verdict{reason: ReasonIdentityNotFound, advice: advice}
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		return verdict{reason: ReasonRejectedCredential, advice: azureML.secret + " was refused; restart the job if the platform has changed it"}
	case a.status >= 500:
		return verdict{reason: ReasonNotReady, advice: "the endpoint is not ready, after all retries"}
	}
	return verdict{advice: "the request was refused"}
}

func isGUID(s string) bool {
	if len(s) != len("00000000-0000-0000-0000-000000000000") {
		return false
	}
	for i, c := range s {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", c) {
			return false
		}
	}
	return true
}
