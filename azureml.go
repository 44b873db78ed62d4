package managedid

import (
	"fmt"
	"net/http"
	"os"

	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/internal/text"
)

// azureML is the endpoint of Azure Machine Learning's computes. It has the protocol of App Service's version
// 2017-09-01.
var azureML = appService2017

// azureMLSource returns the endpoint of Azure ML. Without an ID it requests tokens for the identity that
// DEFAULT_IDENTITY_CLIENT_ID names ("Set up authentication between Azure Machine Learning and other services"). Without
// that variable it names no identity, like MSAL for Python: an old App Service host, which detection takes for Azure
// ML, doesn't set it. The variable is read once, because all tokens of a credential belong to one identity.
func azureMLSource(id ManagedIDKind) (*source, error) {
	named := id
	if id == nil {
		if v := os.Getenv("DEFAULT_IDENTITY_CLIENT_ID"); v != "" {
			named = ClientID(v)
		}
	} else if id.idKind() == kindClientID && !text.IsGUID(id.String()) {
		// For a client ID that is not a GUID, the endpoint of a compute instance returns a token of the signed-in user
		// (github.com/Azure/azure-sdk-for-python pull request 36047).
		return nil, fmt.Errorf("%s needs a GUID for a client ID; correct it in the options or AZURE_CLIENT_ID",
			SourceAzureML)
	}
	s, err := azureML.source(string(SourceAzureML), named)
	if err != nil {
		return nil, err
	}
	if id == nil && named != nil {
		s.subject = "client ID " + text.ID(named.String())
		s.variables = append(s.variables, "DEFAULT_IDENTITY_CLIENT_ID")
	}
	s.classify = func(a answer.Answer) verdict { return classifyAzureML(a, id) }
	return s, nil
}

// classifyAzureML decides by the status, because the bodies seen are plain text: "SSO failure: unable to retrieve a
// token. Error Token service X. Token not found" (github.com/Azure/azure-cli issue 28220), and one that mentions a 404
// (github.com/Azure/azure-sdk-for-python issue 31071).
func classifyAzureML(a answer.Answer, id ManagedIDKind) verdict {
	switch {
	case a.Status == http.StatusBadRequest, a.Status == http.StatusNotFound:
		advice := missingIdentity(id)
		if id == nil {
			advice = "this compute has no identity with the client ID in DEFAULT_IDENTITY_CLIENT_ID, or none at all; " +
				"assign one, or give its client ID in the options or AZURE_CLIENT_ID"
		}
		return verdict{reason: ReasonIdentityNotFound, advice: advice}
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden:
		return verdict{reason: ReasonRejectedCredential,
			advice: azureML.secret + " was refused; restart the job if the platform has changed it"}
	case a.Status >= 500:
		return verdict{reason: ReasonNotReady, advice: "the endpoint is not ready, after all retries"}
	}
	return verdict{advice: "the request was refused"}
}
