package managedidtest

import (
	"cmp"
	"net/http"
	"strings"
)

// Endpoint names one emulated endpoint. In a [Fault], zero means any of them.
type Endpoint string

// The endpoints and their paths. A trailing slash, and other case, is accepted in each. Entra's and ServiceFabric are there
// over TLS only, the others without TLS only.
const (
	IMDS       Endpoint = "imds"       // /metadata/identity/oauth2/token
	AppService Endpoint = "appservice" // /msi/token
	Arc        Endpoint = "arc"        // /arc/metadata/identity/oauth2/token, and IMDS's path where a client asks port 40342
	CloudShell Endpoint = "cloudshell" // /oauth2/token, by POST
	AzureML    Endpoint = "azureml"    // /msi/auth
	Keys       Endpoint = "keys"       // /discovery/keys, the public keys of the tokens as a JSON Web Key Set
	Entra      Endpoint = "entra"      // /{tenant}/oauth2/v2.0/token

	// ServiceFabric is /metadata/identity/oauth2/token over TLS.
	ServiceFabric Endpoint = "servicefabric"

	// Discovery is /common/discovery/instance, /{tenant}/v2.0/.well-known/openid-configuration and
	// /{tenant}/discovery/v2.0/keys, the same keys again.
	Discovery Endpoint = "discovery"
)

// Further hosts for [Emulator.Environ] and [Emulator.Setenv]: programs on the last get their tokens from AppService, those on the
// others from Entra.
const (
	EntraSecret      Endpoint = "entra-secret"      // an application's client secret is in the environment
	EntraCertificate Endpoint = "entra-certificate" // the path of an application's certificate is in the environment
	Workload         Endpoint = "workload"          // a pod of Kubernetes with workload identity
	IdentityBinding  Endpoint = "identity-binding"  // a pod of AKS whose requests go through a [TokenProxy]; only of a [Server]
	AppService2017   Endpoint = "appservice-2017"   // an old app, with api-version 2017-09-01 only, whose expires_on is a date
)

// secure reports whether the endpoint is there over TLS only.
func (e Endpoint) secure() bool { return e == Entra || e == Discovery || e == ServiceFabric }

const (
	imdsPath       = "metadata/identity/oauth2/token"
	appServicePath = "msi/token"
	arcRoot        = "arc" // a path of its own, since Arc's is that of IMDS
	cloudShellPath = "oauth2/token"
	azureMLPath    = "msi/auth"
	keysPath       = "discovery/keys"

	// Without the tenant that they begin with.
	tokenPath      = "oauth2/v2.0/token"
	openIDPath     = "v2.0/.well-known/openid-configuration"
	tenantKeysPath = "discovery/v2.0/keys"

	instancePath = "common/discovery/instance"
)

// arcPort is the agent's: clients that find its program ask there, whatever the environment says.
const arcPort = "40342"

// endpointOf returns the endpoint that a request is for, zero if there is none. It is secure if it came over TLS.
func endpointOf(r *http.Request, secure bool) Endpoint {
	path := strings.ToLower(strings.Trim(r.URL.Path, "/"))
	_, ofTenant, _ := strings.Cut(path, "/")
	switch {
	case secure && ofTenant == tokenPath:
		return Entra
	case secure && (path == instancePath || ofTenant == openIDPath || ofTenant == tenantKeysPath):
		return Discovery
	case secure && path == imdsPath:
		return ServiceFabric
	case secure:
		return ""
	case path == arcRoot+"/"+imdsPath, path == imdsPath && strings.HasSuffix(hostOf(r), ":"+arcPort):
		return Arc
	case path == imdsPath:
		return IMDS
	case path == appServicePath:
		return AppService
	case path == cloudShellPath:
		return CloudShell
	case path == azureMLPath:
		return AzureML
	case path == keysPath:
		return Keys
	}
	return ""
}

// tenantOf returns the tenant in the path, as it was sent.
func tenantOf(r *http.Request) string {
	tenant, _, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	return tenant
}

// hostOf returns the host that the client asked, with its port.
func hostOf(r *http.Request) string { return cmp.Or(r.Host, r.URL.Host) }
