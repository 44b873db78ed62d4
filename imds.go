package managedid

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/internal/gate"
)

// imdsRetry follows "How to use managed identities for Azure resources on an Azure VM to acquire an access token",
// section Retry guidance. It retries 404, 410 (for an update of up to 70 seconds), 429 and 5xx, after delays of about
// 2, 6, 14, 25, 25 and 25 seconds.
func imdsRetry() policy.RetryOptions {
	r := policy.RetryOptions{MaxRetries: 6, RetryDelay: 2 * time.Second, MaxRetryDelay: 25 * time.Second,
		TryTimeout: time.Minute, StatusCodes: []int{http.StatusNotFound, http.StatusGone, http.StatusTooManyRequests}}
	for code := 500; code < 600; code++ {
		r.StatusCodes = append(r.StatusCodes, code)
	}
	return r
}

// imdsSource returns the endpoint of the Instance Metadata Service. Its address is constant, unless
// AZURE_POD_IDENTITY_AUTHORITY_HOST names another scheme and host.
func imdsSource(id ManagedIDKind) (*source, error) {
	base := &url.URL{Scheme: "http", Host: "169.254.169.254"}
	const variable = "AZURE_POD_IDENTITY_AUTHORITY_HOST"
	if v := os.Getenv(variable); v != "" {
		var err error
		if base, err = parseEndpoint(variable, v); err != nil {
			return nil, err
		} else if base.RawQuery != "" {
			return nil, fmt.Errorf("%s has a query; give it scheme and host alone", variable)
		}
	}
	endpoint := *base
	endpoint.Path, endpoint.RawPath = strings.TrimRight(base.Path, "/")+"/metadata/identity/oauth2/token", ""
	return &source{
		name: string(SourceIMDS),
		host: base.Host,
		key:  keyOf(string(SourceIMDS), &endpoint, identityName(id)),
		// limits are those of the category managed identity for a virtual machine: 20 requests per second, 5 at once
		// ("Azure Instance Metadata Service", section Rate limiting)
		limits: gate.Config{Parallel: 5, PerSecond: 20, Near: true},
		retry:  imdsRetry(),
		request: func(ctx context.Context, a tokenParams) (*policy.Request, error) {
			u := withIdentity(endpoint, "2018-02-01", a.scope, id, [3]string{"client_id", "object_id", "msi_res_id"})
			req, err := runtime.NewRequest(ctx, http.MethodGet, u)
			if err == nil {
				req.Raw().Header.Set("Metadata", "true")
			}
			return req, err
		},
		recognise: isIMDS,
		described: described{recogniseProbe: isIMDS, variables: []string{variable}},
		classify:  func(a answer.Answer) verdict { return classifyIMDS(a, id) },
	}, nil
}

// isIMDS reports whether an answer is from IMDS, and not from a proxy, Docker Desktop, another cloud or a captive
// portal at its address. It decides by the Server header, or by a body or status that only a token endpoint has.
func isIMDS(a answer.Answer) bool {
	switch {
	case strings.HasPrefix(a.Header.Get("Server"), "IMDS/"):
		return true
	case a.Status == http.StatusTooManyRequests, a.Status == http.StatusGone:
		return true
	case a.Status/100 == 3, a.Status == http.StatusProxyAuthRequired:
		return false
	}
	return a.IsToken || a.OAuth && a.Status/100 != 2
}

func classifyIMDS(a answer.Answer, id ManagedIDKind) verdict {
	// IMDS uses the code invalid_request for failures with different remedies, so the description decides
	description := strings.ToLower(a.Description)
	switch {
	case strings.Contains(description, "multiple user assigned"):
		return verdict{reason: ReasonAmbiguousIdentity,
			advice: "this host has several user-assigned identities; name one in the options or in AZURE_CLIENT_ID"}
	case strings.Contains(description, "identity not found"):
		return verdict{reason: ReasonIdentityNotFound, advice: missingIdentity(id), unavailable: id == nil}
	case a.Status == http.StatusNotFound, a.Status == http.StatusGone, a.Status >= 500:
		return verdict{reason: ReasonNotReady, advice: "the endpoint is not ready, after all retries"}
	}
	return verdict{advice: "the request was refused"}
}
