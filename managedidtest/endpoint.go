package managedidtest

import (
	"cmp"
	"net/http"
	"strings"
)

// Endpoint names one emulated endpoint or host. In a [Fault], zero means every endpoint.
type Endpoint string

// The endpoints and their paths. Paths may have a trailing slash, and their case does not matter. [Entra], [Discovery]
// and [ServiceFabric] are served over TLS only. The others are served without TLS only.
const (
	IMDS       Endpoint = "imds"       // /metadata/identity/oauth2/token
	AppService Endpoint = "appservice" // /msi/token
	Arc        Endpoint = "arc"        // /arc/metadata/identity/oauth2/token, and the path of IMDS on port 40342
	CloudShell Endpoint = "cloudshell" // /oauth2/token, with POST
	AzureML    Endpoint = "azureml"    // /msi/auth
	Keys       Endpoint = "keys"       // /discovery/keys, the public keys of the tokens as a JSON Web Key Set
	Entra      Endpoint = "entra"      // /{tenant}/oauth2/v2.0/token

	// ServiceFabric is /metadata/identity/oauth2/token over TLS.
	ServiceFabric Endpoint = "servicefabric"

	// Discovery is /common/discovery/instance, /{tenant}/v2.0/.well-known/openid-configuration and
	// /{tenant}/discovery/v2.0/keys. The last one has the same keys as [Keys].
	Discovery Endpoint = "discovery"
)

// Further hosts for [Emulator.Environ] and [Emulator.Setenv]. A program on an AppService2017 host gets its tokens from
// [AppService]. On the other hosts, it gets them from [Entra].
const (
	EntraSecret      Endpoint = "entra-secret"      // the environment has an application's client secret
	EntraCertificate Endpoint = "entra-certificate" // the environment has the path of an application's certificate
	Workload         Endpoint = "workload"          // a Kubernetes pod with workload identity
	IdentityBinding  Endpoint = "identity-binding"  // an AKS pod whose requests go through a [TokenProxy] of a [Server]
	AppService2017   Endpoint = "appservice-2017"   // an old app: api-version 2017-09-01 only, and expires_on is a date
)

// secure reports whether the endpoint is served over TLS only.
func (e Endpoint) secure() bool { return e == Entra || e == Discovery || e == ServiceFabric }

const (
	imdsPath       = "metadata/identity/oauth2/token"
	appServicePath = "msi/token"
	arcRoot        = "arc" // prefix of Arc's path, which is otherwise the path of IMDS
	cloudShellPath = "oauth2/token"
	azureMLPath    = "msi/auth"
	keysPath       = "discovery/keys"

	// The paths below follow the tenant.
	tokenPath      = "oauth2/v2.0/token"
	openIDPath     = "v2.0/.well-known/openid-configuration"
	tenantKeysPath = "discovery/v2.0/keys"

	instancePath = "common/discovery/instance"
)

// arcPort is the port of Azure Arc's agent. A client that finds the agent's program uses it and ignores the
// environment.
const arcPort = "40342"

// endpointOf returns the endpoint that a request is for, or zero if there is none. secure means that it came over TLS.
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

// tenantOf returns the tenant in the path, unchanged.
func tenantOf(r *http.Request) string {
	tenant, _, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	return tenant
}

// hostOf returns the host that the request names, with its port.
func hostOf(r *http.Request) string { return cmp.Or(r.Host, r.URL.Host) }
