package managedid

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
)

// entraConfig is what the credentials that ask Entra have in common.
type entraConfig struct {
	options  azcore.ClientOptions
	tenantID string
	clientID string
	allowed  []string
	cache    *TokenCache
	logger   *slog.Logger
}

func newEntraCredential(name string, o entraConfig, p proof) (*credential, error) {
	if o.clientID == "" {
		return nil, errors.New(name + ": the client ID is empty")
	}
	if !validTenant(o.tenantID) {
		return nil, errors.New(name + ": the tenant ID is not valid: it has letters, digits, dots and hyphens only")
	}
	authority, err := authorityHost(o.options.Cloud)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	e := &entra{name: name, authority: authority, tenant: o.tenantID, clientID: o.clientID, allowed: slices.Clone(o.allowed),
		proof: p, options: o.options, cache: cacheFor(o.cache, &o.options), logger: o.logger}
	return e.credential(o.tenantID)
}

// authorityHost returns the cloud's address of Entra, in azidentity's order of precedence.
func authorityHost(c cloud.Configuration) (*url.URL, error) {
	host, name := c.ActiveDirectoryAuthorityHost, "Cloud.ActiveDirectoryAuthorityHost"
	if host == "" && len(c.Services) > 0 {
		return nil, errors.New("the Cloud in the options has no ActiveDirectoryAuthorityHost")
	}
	if host == "" {
		host, name = cmp.Or(os.Getenv("AZURE_AUTHORITY_HOST"), cloud.AzurePublic.ActiveDirectoryAuthorityHost), "AZURE_AUTHORITY_HOST"
	}
	u, err := parseEndpoint(name, host)
	if err != nil || u.Scheme != "https" || u.RawQuery != "" {
		return nil, fmt.Errorf("%s is not an https URL of scheme and host", name)
	}
	u.Host = strings.ToLower(u.Host)
	return u, nil
}

func validTenant(id string) bool {
	return strings.Trim(id, ".") != "" && !strings.ContainsFunc(id, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '.')
	})
}

// inTenant returns the credential for a request's tenant; home is the one for the configured tenant.
func (e *entra) inTenant(home *credential, tenant string) (*credential, error) {
	if tenant == "" || strings.EqualFold(tenant, e.tenant) {
		return home, nil
	}
	key := strings.ToLower(tenant)
	if c, ok := e.others.Load(key); ok {
		return c.(*credential), nil
	}
	problem := ""
	switch {
	case !validTenant(tenant):
		problem = "the request's tenant ID is not valid"
	case strings.EqualFold(e.tenant, "adfs"):
		problem = "AD FS has no tenants, but the request names one"
	case !slices.ContainsFunc(e.allowed, func(t string) bool { return t == "*" || strings.EqualFold(t, tenant) }):
		problem = fmt.Sprintf("a token of tenant %s is asked for, which is not the configured one; add it to AdditionallyAllowedTenants if it may be", tenant)
	}
	if problem != "" {
		return nil, &AuthenticationFailedError{Reason: ReasonConfiguration, message: home.who + ": " + problem}
	}
	c, err := e.credential(tenant)
	if err != nil {
		return nil, &AuthenticationFailedError{Reason: ReasonConfiguration, message: err.Error()}
	}
	first, _ := e.others.LoadOrStore(key, c)
	return first.(*credential), nil
}

// allowedTenants returns the option's tenants, or else the variable's.
func allowedTenants(option []string) []string {
	if v := os.Getenv("AZURE_ADDITIONALLY_ALLOWED_TENANTS"); len(option) == 0 && v != "" {
		return strings.Split(v, ";")
	}
	return option
}
