package managedid

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"weak"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
)

// entraConfig has the options that the credentials for Entra share.
type entraConfig struct {
	options   azcore.ClientOptions
	tenantID  string // the tenant of a request that names none
	clientID  string
	allowed   []string    // other tenants that a request may name
	proxy     *tokenProxy // requests go to it instead of Entra; nil: none
	variables []string    // the environment variables that the other fields are from
	cache     *TokenCache
	logger    *slog.Logger
}

func newEntraCredential(name string, o entraConfig, p proof) (*credential, error) {
	if o.clientID == "" {
		return nil, misconfigured(name, "the client ID is empty")
	}
	if !validTenant(o.tenantID) {
		return nil, misconfigured(name,
			"the tenant ID, from the options or AZURE_TENANT_ID, is not valid: it has at most 253 letters, digits, "+
				"dots and hyphens only")
	}
	authority, err := authorityHost(o.options.Cloud)
	if err == nil && !strings.EqualFold(o.tenantID, tenantADFS) {
		authority.Host, err = regionalHost(authority.Host, os.Getenv("AZURE_REGIONAL_AUTHORITY_NAME"))
	}
	if err != nil {
		return nil, misconfigured(name, err.Error())
	}
	if o.options.Cloud.ActiveDirectoryAuthorityHost == "" {
		o.variables = append(o.variables, "AZURE_AUTHORITY_HOST")
	}
	o.variables = append(o.variables, "AZURE_REGIONAL_AUTHORITY_NAME")
	o.cache = cacheFor(o.cache, &o.options)
	o.allowed, o.options = slices.Clone(o.allowed), copyOptions(o.options)
	return (&entra{entraConfig: o, name: name, authority: authority, proof: p}).credential(o.tenantID, false)
}

// authorityHost returns the address of Entra in the cloud. The order of precedence is that of azidentity: the options,
// the variable, the public cloud.
func authorityHost(c cloud.Configuration) (*url.URL, error) {
	host, name := c.ActiveDirectoryAuthorityHost, "Cloud.ActiveDirectoryAuthorityHost"
	if host == "" && len(c.Services) > 0 {
		return nil, errors.New("the Cloud in the options has no ActiveDirectoryAuthorityHost")
	}
	if host == "" {
		host, name = cmp.Or(os.Getenv("AZURE_AUTHORITY_HOST"), cloud.AzurePublic.ActiveDirectoryAuthorityHost),
			"AZURE_AUTHORITY_HOST"
	}
	u, err := parseEndpoint(name, host)
	if err != nil || u.Scheme != "https" || u.RawQuery != "" || u.ForceQuery {
		return nil, fmt.Errorf("%s is not an https URL without a query", name)
	}
	u.Host = strings.ToLower(u.Host)
	return u, nil
}

const invalidRequestTenant = "the request's tenant ID is not valid: it has at most 253 letters, digits, dots and " +
	"hyphens only"

// isRegion reports whether a name is a label of a domain name, like the check of MSAL Go.
var isRegion = regexp.MustCompile(`^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$`).MatchString

// regionalHost returns the host of the token service in a region, by the rules of MSAL Go
// (apps/internal/oauth/ops/authority).
func regionalHost(host, region string) (string, error) {
	switch name, _, _ := strings.Cut(host, ":"); {
	case region == "", host[0] == '[', net.ParseIP(name) != nil: // an IP address has no regions
		return host, nil
	case strings.EqualFold(region, "TryAutoDetect"), strings.EqualFold(region, "AutoDiscoverRegion"):
		return "", errors.New("AZURE_REGIONAL_AUTHORITY_NAME asks to detect the region, which is not supported; set " +
			"it to the region's name, or to nothing")
	case !isRegion(region):
		return "", errors.New("AZURE_REGIONAL_AUTHORITY_NAME is not the name of a region, like westus2")
	}
	switch host {
	case "login.microsoftonline.com", "login.microsoft.com", "login.windows.net", "sts.windows.net":
		host = "login.microsoft.com"
	case "login.usgovcloudapi.net":
		host = "login.microsoftonline.us"
	case "login.chinacloudapi.cn":
		host = "login.partner.microsoftonline.cn"
	}
	return region + "." + host, nil
}

// tenantProblem returns why a request may not name a tenant, or "" if it may.
func tenantProblem(home, tenant string, allowed []string) string {
	switch {
	case !validTenant(tenant):
		return invalidRequestTenant
	case strings.EqualFold(home, tenantADFS):
		return "AD FS has no tenants, but the request names one"
	case !slices.ContainsFunc(allowed, func(t string) bool { return t == "*" || strings.EqualFold(t, tenant) }):
		return fmt.Sprintf("a token of tenant %s is asked for, which is not the configured one; add it to "+
			"AdditionallyAllowedTenants if it may be", tenant)
	}
	return ""
}

// tenantADFS stands for Active Directory Federation Services in the place of a tenant.
const tenantADFS = "adfs"

// maxTenant is the length of the longest domain name (RFC 1035, section 2.3.4).
const maxTenant = 253

func validTenant(id string) bool {
	return len(id) <= maxTenant && strings.Trim(id, ".") != "" && !strings.ContainsFunc(id, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '.')
	})
}

// inTenant returns the credential for a request's tenant. home is the credential for the configured tenant.
func (e *entra) inTenant(home *credential, tenant string) (*credential, error) {
	valid := validTenant(tenant)
	if tenant == "" || valid && strings.EqualFold(tenant, e.tenantID) {
		return home, nil
	}
	key := strings.ToLower(tenant)
	if found, ok := e.others.Load(key); ok && valid {
		if c := found.(weak.Pointer[credential]).Value(); c != nil {
			return c, nil
		}
	}
	if problem := tenantProblem(e.tenantID, tenant, e.allowed); problem != "" {
		return nil, &AuthenticationFailedError{Reason: ReasonConfiguration, message: home.who + ": " + problem}
	}
	// Only the cache, while it has a token of c, and those who wait for a token refer to c.
	c, err := e.credential(tenant, true)
	if err != nil {
		return nil, &AuthenticationFailedError{Reason: ReasonConfiguration, message: lineOf(err)}
	}
	pointer := weak.Make(c)
	e.others.Store(key, pointer)
	runtime.AddCleanup(c, func(key string) { e.others.CompareAndDelete(key, pointer) }, key)
	return c, nil
}

// allowedTenants returns the tenants from the option, or else those from the environment variable.
func allowedTenants(option []string) []string {
	if v := os.Getenv("AZURE_ADDITIONALLY_ALLOWED_TENANTS"); len(option) == 0 && v != "" {
		return strings.Split(v, ";")
	}
	return option
}
