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

	"github.com/managedid/managedid/internal/gate"
)

// imdsRetry follows "How to use managed identities for Azure resources on an Azure VM to acquire an access token", section
// Retry guidance: 404, 410 (back within 70 seconds), 429 and 5xx, with delays of about 2, 6, 14, 25, 25, 25 s.
func imdsRetry() policy.RetryOptions {
	r := policy.RetryOptions{MaxRetries: 6, RetryDelay: 2 * time.Second, MaxRetryDelay: 25 * time.Second, TryTimeout: time.Minute,
		StatusCodes: []int{http.StatusNotFound, http.StatusGone, http.StatusTooManyRequests}}
	for code := 500; code < 600; code++ {
		r.StatusCodes = append(r.StatusCodes, code)
	}
	return r
}

// imdsSource is the Instance Metadata Service. Its address is a constant of the platform unless
// AZURE_POD_IDENTITY_AUTHORITY_HOST, scheme and host, moves it.
func imdsSource(id ManagedIDKind) (*source, error) {
	host := &url.URL{Scheme: "http", Host: "169.254.169.254"}
	const variable = "AZURE_POD_IDENTITY_AUTHORITY_HOST"
	if v := os.Getenv(variable); v != "" {
		var err error
		if host, err = parseEndpoint(variable, v); err != nil {
			return nil, err
		} else if host.RawQuery != "" {
			return nil, fmt.Errorf("%s has a query; give it scheme and host alone", variable)
		}
	}
	endpoint := *host
	endpoint.Path, endpoint.RawPath = strings.TrimRight(host.Path, "/")+"/metadata/identity/oauth2/token", ""
	return &source{
		name:     string(SourceIMDS),
		host:     host.Host,
		endpoint: endpoint.String(),
		// the managed identity category's limits for a virtual machine: 20 requests per second and 5 at once
		// ("Azure Instance Metadata Service", section Rate limiting)
		limits: gate.Config{Parallel: 5, PerSecond: 20, Near: true},
		retry:  imdsRetry(),
		request: func(ctx context.Context, a ask) (*policy.Request, error) {
			u := withIdentity(endpoint, "2018-02-01", a.scope, id, [3]string{"client_id", "object_id", "msi_res_id"})
			req, err := runtime.NewRequest(ctx, http.MethodGet, u)
			if err == nil {
				req.Raw().Header.Set("Metadata", "true")
			}
			return req, err
		},
		recognise: isIMDS,
		explained: explained{isOwn: isIMDS, variables: []string{variable}},
		explain:   func(a answer) verdict { return explainIMDS(a, id) },
	}, nil
}

// isIMDS tells IMDS's answers from those of a proxy, Docker Desktop, another cloud or a captive portal at its
// address: by the Server header, or by a body or status that only a token endpoint has.
func isIMDS(a answer) bool {
	switch {
	case strings.HasPrefix(a.header.Get("Server"), "IMDS/"):
		return true
	case a.status == http.StatusTooManyRequests, a.status == http.StatusGone:
		return true
	case a.status/100 == 3, a.status == http.StatusProxyAuthRequired:
		return false
	}
	return a.isToken || a.oauth && a.status/100 != 2
}

func explainIMDS(a answer, id ManagedIDKind) verdict {
	// IMDS has one code, invalid_request, for what takes different remedies, so its description decides
	description := strings.ToLower(a.description)
	switch {
	case strings.Contains(description, "multiple user assigned"):
		return verdict{reason: ReasonAmbiguousIdentity,
			advice: "this host has several user-assigned identities; name one in the options or in AZURE_CLIENT_ID"}
	case strings.Contains(description, "identity not found"):
		return verdict{reason: ReasonIdentityNotFound, advice: missingIdentity(id), unavailable: id == nil}
	case a.status == http.StatusNotFound, a.status == http.StatusGone, a.status >= 500:
		return verdict{reason: ReasonNotReady, advice: "the endpoint is not ready, after all retries"}
	}
	return verdict{advice: "the request was refused"}
}
