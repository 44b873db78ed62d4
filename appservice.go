package managedid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// hostEndpoint is an endpoint whose address is in one of the host's variables and whose secret is in another. The platform
// rotates the secret, so both are read for each request, together: the secret goes only where the host said.
type hostEndpoint struct {
	address, secret string // the variables
	header          string // that the secret is sent in
	apiVersion      string
	selectors       [3]string // parameters by kind of ID; "" where it can't take the kind
}

// The versions of App Service ("How to use managed identities for App Service and Azure Functions", section REST endpoint
// reference).
var (
	appService2019 = hostEndpoint{"IDENTITY_ENDPOINT", "IDENTITY_HEADER", identityHeader, "2019-08-01", [3]string{"client_id", "object_id", "mi_res_id"}}
	appService2017 = hostEndpoint{"MSI_ENDPOINT", "MSI_SECRET", "Secret", "2017-09-01", [3]string{kindClientID: "clientid"}}
)

// hostRetry is for endpoints on the host, with azcore's own status codes: a sidecar may start after its app.
var hostRetry = policy.RetryOptions{MaxRetries: 5, RetryDelay: 800 * time.Millisecond, MaxRetryDelay: 10 * time.Second, TryTimeout: time.Minute}

// appServiceSource is the endpoint of App Service, Functions and Container Apps. An old host has the variables of version
// 2017-09-01 alone; it looks like Azure ML, so that the caller must have named the source.
func appServiceSource(id ManagedIDKind) (*source, error) {
	e, name := appService2019, string(SourceAppService)
	if !e.isSet() && appService2017.isSet() {
		e, name = appService2017, name+" "+appService2017.apiVersion
	}
	s, err := e.source(name, id)
	if err == nil {
		s.explain = func(a answer) verdict { return explainAppService(a, e.secret, id) }
	}
	return s, err
}

func (e *hostEndpoint) isSet() bool { return os.Getenv(e.address) != "" && os.Getenv(e.secret) != "" }

// source is all but what its answers mean.
func (e hostEndpoint) source(name string, id ManagedIDKind) (*source, error) {
	endpoint, err := parseEndpoint(e.address, os.Getenv(e.address))
	if err != nil {
		return nil, err
	}
	if id != nil && e.selectors[id.idKind()] == "" {
		return nil, fmt.Errorf("%s can't take the %s of an identity, only its %s", name, id.idKind(), kindClientID)
	}
	return &source{
		name:      name,
		host:      endpoint.Host,
		endpoint:  endpoint.String(),
		announced: true,
		explained: explained{variables: []string{e.address, e.secret}},
		retry:     hostRetry,
		request:   func(ctx context.Context, a ask) (*policy.Request, error) { return e.request(ctx, a, id) },
	}, nil
}

func (e hostEndpoint) request(ctx context.Context, a ask, id ManagedIDKind) (*policy.Request, error) {
	now, err := parseEndpoint(e.address, os.Getenv(e.address))
	if err != nil {
		return nil, err
	}
	secret := os.Getenv(e.secret)
	if secret == "" {
		return nil, errors.New(e.secret + " is not set")
	} else if strings.ContainsFunc(secret, unicode.IsControl) {
		return nil, errors.New(e.secret + " has control characters; take them out")
	}
	req, err := runtime.NewRequest(ctx, http.MethodGet, withIdentity(*now, e.apiVersion, a.scope, id, e.selectors))
	if err == nil {
		req.Raw().Header.Set(e.header, secret)
	}
	return req, err
}

func explainAppService(a answer, secret string, id ManagedIDKind) verdict {
	switch {
	case a.status == http.StatusBadRequest:
		return verdict{reason: ReasonIdentityNotFound, advice: missingIdentity(id)}
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		return verdict{reason: ReasonRejectedCredential, advice: secret + " was refused; restart the app if the platform has changed it"}
	case a.status == http.StatusInternalServerError:
		return verdict{reason: ReasonNotReady, advice: "the endpoint failed, after all retries; it says so for an unknown resource too, so check the scope"}
	case a.status == http.StatusNotFound, a.status >= 500:
		return verdict{reason: ReasonNotReady, advice: "the endpoint is not ready, after all retries"}
	}
	return verdict{advice: "the request was refused"}
}
