package managedidtest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// sharedTenants are names in the place of a tenant. They stand for the tenant of the user who signs in.
var sharedTenants = []string{"common", "organizations"}

// discovery answers with Entra's documents, as recorded for the Azure SDKs.
func (s *state) discovery(r *http.Request) answer {
	if r.Method != http.MethodGet {
		return notGET(emptyAnswer(http.StatusMethodNotAllowed, Discovery))
	}
	path := strings.ToLower(strings.Trim(r.URL.Path, "/"))
	if path == instancePath {
		return instance(r)
	}
	tenant := strings.ToLower(tenantOf(r))
	if !slices.Contains(sharedTenants, tenant) {
		var problem *refusal
		if tenant, problem = s.tenant(tenantOf(r)); problem != nil {
			problem.name = "invalid_tenant"
			return problem.asAnswer(Discovery, r, time.Now())
		}
	}
	if strings.HasSuffix(path, tenantKeysPath) {
		return jsonAnswer(http.StatusOK, Discovery, publicKeys())
	}
	return jsonAnswer(http.StatusOK, Discovery, openIDConfiguration(hostOf(r), tenant))
}

// openID is an OpenID provider document: OpenID Connect Discovery 1.0, section 3.
type openID struct {
	TokenEndpoint string   `json:"token_endpoint"`
	AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
	Keys          string   `json:"jwks_uri"`
	ResponseModes []string `json:"response_modes_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	ResponseTypes []string `json:"response_types_supported"`
	Scopes        []string `json:"scopes_supported"`
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	CloudInstance string   `json:"cloud_instance_name"`
}

// openIDConfiguration returns the document of a tenant. Every URL has the host of the request, so the issuer matches
// the client's authority.
func openIDConfiguration(host, tenant string) openID {
	issuer := tenant
	if slices.Contains(sharedTenants, tenant) {
		issuer = "{tenantid}"
	}
	base := "https://" + host + "/"
	return openID{
		TokenEndpoint: base + tenant + "/" + tokenPath,
		AuthMethods:   []string{"client_secret_post", "private_key_jwt"},
		Keys:          base + tenant + "/" + tenantKeysPath,
		ResponseModes: []string{"query", "fragment", "form_post"},
		SubjectTypes:  []string{"pairwise"},
		Algorithms:    []string{"RS256"},
		ResponseTypes: []string{"code", "id_token", "code id_token", "id_token token"},
		Scopes:        []string{"openid", "profile", "email", "offline_access"},
		Issuer:        base + issuer + "/v2.0",
		Authorization: base + tenant + "/oauth2/v2.0/authorize",
		CloudInstance: "microsoftonline.com",
	}
}

// instanceDocument is the answer of instance discovery.
type instanceDocument struct {
	TenantDiscovery string  `json:"tenant_discovery_endpoint"`
	Version         string  `json:"api-version"`
	Metadata        []cloud `json:"metadata"`
}

type cloud struct {
	Network string   `json:"preferred_network"`
	Cache   string   `json:"preferred_cache"`
	Aliases []string `json:"aliases"`
}

var publicCloud = cloud{
	"login.microsoftonline.com", "login.windows.net",
	[]string{"login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"},
}

// instance declares every authority host valid. A client then trusts an emulator whose host is not one of Entra's.
func instance(r *http.Request) answer {
	given := r.URL.Query().Get("authorization_endpoint")
	if given == "" {
		return missing("authorization_endpoint").asAnswer(Discovery, r, time.Now())
	}
	u, err := url.Parse(given)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return unknownInstance().asAnswer(Discovery, r, time.Now())
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	d := instanceDocument{"https://" + u.Host + "/" + tenant + "/" + openIDPath, "1.1", []cloud{publicCloud}}
	if !slices.Contains(publicCloud.Aliases, u.Host) {
		d.Metadata = append(d.Metadata, cloud{u.Host, u.Host, []string{u.Host}})
	}
	return jsonAnswer(http.StatusOK, Discovery, d)
}
