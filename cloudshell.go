package managedid

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"

	"github.com/managedid/managedid/internal/answer"
)

// cloudShellSource returns the endpoint of Cloud Shell. Its tokens belong to the user who is signed in to the portal
// ("Acquire a token in Azure Cloud Shell").
func cloudShellSource(id ManagedIDKind) (*source, error) {
	const variable = "MSI_ENDPOINT"
	if id != nil {
		return nil, fmt.Errorf("%s can't take the %s of an identity, nor any other ID, since its tokens are those of "+
			"the signed-in user; leave the ID out of the options, and AZURE_CLIENT_ID unset",
			SourceCloudShell, id.idKind())
	}
	endpoint, err := parseEndpoint(variable, os.Getenv(variable))
	if err != nil {
		return nil, err
	}
	return &source{
		name:      string(SourceCloudShell),
		host:      endpoint.Host,
		key:       keyOf(string(SourceCloudShell), endpoint, identityName(nil)),
		address:   addressIn(variable),
		announced: true,
		request: func(ctx context.Context, a tokenParams) (*policy.Request, error) {
			current, err := parseEndpoint(variable, os.Getenv(variable))
			if err != nil {
				return nil, err
			}
			req, err := runtime.NewRequest(ctx, http.MethodPost, current.String())
			if err != nil {
				return nil, err
			}
			req.Raw().Header.Set("Metadata", "true")
			form := url.Values{"resource": {strings.TrimSuffix(a.scope, defaultSuffix)}}
			return req, req.SetBody(streaming.NopCloser(strings.NewReader(form.Encode())),
				"application/x-www-form-urlencoded")
		},
		classify:  classifyCloudShell,
		described: described{subject: "the signed-in user", variables: []string{variable}},
	}, nil
}

func classifyCloudShell(a answer.Answer) verdict {
	switch {
	case a.Code == "AudienceNotSupported":
		return verdict{reason: ReasonInvalidScope,
			advice: "the resource is not one of those that Cloud Shell gives tokens for; correct the scope, or use " +
				"another credential"}
	case a.Status == http.StatusNotFound, a.Status >= 500:
		return verdict{reason: ReasonNotReady, advice: "the endpoint is not ready, after all retries"}
	}
	return verdict{advice: "the request was refused"}
}
