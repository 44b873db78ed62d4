package managedid

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// appServiceSource is the endpoint of App Service, Functions and Container Apps ("How to use managed identities for App
// Service and Azure Functions", section REST endpoint reference). The platform rotates IDENTITY_HEADER, so both variables
// are read for each request, together: the secret goes only where the host said.
func appServiceSource(id ManagedIDKind) (*source, error) {
	endpoint, err := parseEndpoint("IDENTITY_ENDPOINT", os.Getenv("IDENTITY_ENDPOINT"))
	if err != nil {
		return nil, err
	}
	return &source{
		name:      string(SourceAppService),
		host:      endpoint.Host,
		endpoint:  endpoint.String(),
		announced: true,
		// a sidecar may start after its app; the status codes are azcore's own
		retry: policy.RetryOptions{MaxRetries: 5, RetryDelay: 800 * time.Millisecond, MaxRetryDelay: 10 * time.Second, TryTimeout: time.Minute},
		request: func(ctx context.Context, a ask) (*policy.Request, error) {
			now, err := parseEndpoint("IDENTITY_ENDPOINT", os.Getenv("IDENTITY_ENDPOINT"))
			if err != nil {
				return nil, err
			}
			secret := os.Getenv("IDENTITY_HEADER")
			if secret == "" {
				return nil, errors.New("IDENTITY_HEADER is not set")
			} else if strings.ContainsFunc(secret, unicode.IsControl) {
				return nil, errors.New("IDENTITY_HEADER can't be the value of a header")
			}
			u := withIdentity(*now, "2019-08-01", a.scope, id, [3]string{"client_id", "object_id", "mi_res_id"})
			req, err := runtime.NewRequest(ctx, http.MethodGet, u)
			if err == nil {
				req.Raw().Header.Set(identityHeader, secret)
			}
			return req, err
		},
		explain: func(a answer) verdict { return explainAppService(a, id) },
	}, nil
}

func explainAppService(a answer, id ManagedIDKind) verdict {
	switch {
	case a.status == http.StatusTooManyRequests:
		return verdict{reason: ReasonThrottled, advice: "the endpoint is throttling this host"}
	case a.code == "invalid_resource" || a.code == "invalid_scope":
		return verdict{reason: ReasonInvalidScope, advice: "the resource is unknown; correct the scope"}
	case a.status == http.StatusBadRequest:
		return verdict{reason: ReasonIdentityNotFound, advice: missingIdentity(id)}
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		return verdict{reason: ReasonRejectedCredential, advice: "IDENTITY_HEADER was refused; restart the app if the platform has changed it"}
	case a.status == http.StatusInternalServerError:
		return verdict{reason: ReasonNotReady, advice: "the endpoint failed, after all retries; it says so for an unknown resource too, so check the scope"}
	case a.status == http.StatusNotFound, a.status >= 500:
		return verdict{reason: ReasonNotReady, advice: "the endpoint is not ready, after all retries"}
	}
	return verdict{advice: "the request was refused"}
}
