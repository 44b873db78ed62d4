package managedid

import (
	"fmt"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"
)

func TestAuthority_precedence(t *testing.T) {
	const bad = "AZURE_AUTHORITY_HOST is not an https URL without a query"
	services := map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Audience: "a", Endpoint: "e"}}
	for _, row := range []struct {
		name      string
		cloud     cloud.Configuration
		variable  string
		want, err string
	}{
		{"public", cloud.Configuration{}, "", "https://login.microsoftonline.com/t/oauth2/v2.0/token", ""},
		{"the variable", cloud.Configuration{}, "https://login.example", "https://login.example/t/oauth2/v2.0/token", ""},
		{"with a slash", cloud.Configuration{}, "https://login.example/", "https://login.example/t/oauth2/v2.0/token", ""},
		{"with a port", cloud.Configuration{}, "https://127.0.0.1:8443/", "https://127.0.0.1:8443/t/oauth2/v2.0/token", ""},
		{"with a path", cloud.Configuration{}, "https://fs.example/adfs", "https://fs.example/adfs/t/oauth2/v2.0/token", ""},
		{"the option before the variable", cloud.AzureGovernment, "https://login.example", "https://login.microsoftonline.us/t/oauth2/v2.0/token", ""},
		{"China", cloud.AzureChina, "", "https://login.chinacloudapi.cn/t/oauth2/v2.0/token", ""},
		{"public, explicitly", cloud.AzurePublic, "https://login.example", "https://login.microsoftonline.com/t/oauth2/v2.0/token", ""},
		{"a cloud without a host", cloud.Configuration{Services: services}, "https://login.example", "", "the Cloud in the options has no ActiveDirectoryAuthorityHost"},
		{"without TLS", cloud.Configuration{}, "http://login.example", "", bad},
		{"without a scheme", cloud.Configuration{}, "login.example", "", bad},
		{"without a host", cloud.Configuration{}, "https:///x", "", bad},
		{"with a user", cloud.Configuration{}, "https://u:not-for-print@login.example", "", bad},
		{"with a query", cloud.Configuration{}, "https://login.example?not-for-print", "", bad},
		{"with a fragment", cloud.Configuration{}, "https://login.example#not-for-print", "", bad},
		{"no URL", cloud.Configuration{}, "https://login.example:not-for-print", "", bad},
		{"the option without TLS", cloud.Configuration{ActiveDirectoryAuthorityHost: "http://login.example"}, "", "",
			"Cloud.ActiveDirectoryAuthorityHost is not an https URL without a query"},
	} {
		t.Run(row.name, func(t *testing.T) {
			blankEnvironment(t)
			t.Setenv("AZURE_AUTHORITY_HOST", row.variable)
			f := &fakeEntra{}
			c, err := NewClientSecretCredential("t", "c", "s", &ClientSecretCredentialOptions{ClientOptions: azcore.ClientOptions{Cloud: row.cloud, Transport: f}})
			if row.err != "" {
				requireError(t, err, "ClientSecretCredential: "+row.err)
				return
			}
			require.NoError(t, err)
			require.NoError(t, get(ctx0, c, vault).Err)
			require.Equal(t, row.want, f.Sent[0].URL.String())
		})
	}
}

func TestAuthority_ofARegion(t *testing.T) {
	const bad, detect = "AZURE_REGIONAL_AUTHORITY_NAME is not the name of a region, like westus2",
		"AZURE_REGIONAL_AUTHORITY_NAME asks to detect the region, which is not supported; set it to the region's name, or to nothing"
	for _, row := range []struct{ name, host, region, tenant, want, err string }{
		{"public", "", "westus2", "t", "westus2.login.microsoft.com", ""},
		{"an alias of public", "https://login.windows.net/", "westus2", "t", "westus2.login.microsoft.com", ""},
		{"US Government", "https://login.microsoftonline.us/", "usgovvirginia", "t", "usgovvirginia.login.microsoftonline.us", ""},
		{"its alias", "https://login.usgovcloudapi.net/", "usgovvirginia", "t", "usgovvirginia.login.microsoftonline.us", ""},
		{"China", "https://login.chinacloudapi.cn/", "chinaeast2", "t", "chinaeast2.login.partner.microsoftonline.cn", ""},
		{"an alias with an empty port", "https://login.windows.net:/", "westus2", "t", "westus2.login.microsoft.com", ""},
		{"an unknown host", "https://login.example/", "r-1", "t", "r-1.login.example", ""},
		{"none", "", "", "t", "login.microsoftonline.com", ""},
		{"an address has none", "https://[::1]:8443/", "westus2", "t", "[::1]:8443", ""},
		{"nor has one of IPv4", "https://127.0.0.1:8443/", "westus2", "t", "127.0.0.1:8443", ""},
		{"AD FS has none", "https://fs.example/", "westus2", "adfs", "fs.example", ""},
		{"detection", "", "TryAutoDetect", "t", "", detect},
		{"detection, as in JavaScript", "", "AutoDiscoverRegion", "t", "", detect},
		{"another host", "", "evil.example/", "t", "", bad},
		{"upper case", "", "WestUS2", "t", "", bad},
		{"a hyphen at the end", "", "a-", "t", "", bad},
		{"64 letters", "", strings.Repeat("a", 64), "t", "", bad},
	} {
		t.Run(row.name, func(t *testing.T) {
			blankEnvironment(t)
			setenv(t, "AZURE_AUTHORITY_HOST="+row.host, "AZURE_REGIONAL_AUTHORITY_NAME="+row.region)
			f := &fakeEntra{}
			c, err := NewClientSecretCredential(row.tenant, "c", "s", &ClientSecretCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: f}})
			if row.err != "" {
				requireError(t, err, "ClientSecretCredential: "+row.err)
				return
			}
			require.NoError(t, err)
			require.NoError(t, get(ctx0, c, vault).Err)
			require.Equal(t, row.want, f.Sent[0].URL.Host)
		})
	}
}

func TestTenant_ofARequest(t *testing.T) {
	const notAllowed = "a token of tenant fabrikam is asked for, which is not the configured one; add it to AdditionallyAllowedTenants if it may be"
	for _, row := range []struct {
		name    string
		home    string
		allowed []string
		tenant  string
		want    string // the tenant that is asked
		err     string
	}{
		{"none", "contoso", nil, "", "contoso/oauth2/v2.0", ""},
		{"the credential's", "contoso", nil, "contoso", "contoso/oauth2/v2.0", ""},
		{"the credential's in other letters", "contoso", nil, "CONTOSO", "contoso/oauth2/v2.0", ""},
		{"another", "contoso", nil, "fabrikam", "", notAllowed},
		{"another, and others are allowed", "contoso", []string{"x"}, "fabrikam", "", notAllowed},
		{"allowed", "contoso", []string{"x", "fabrikam"}, "fabrikam", "fabrikam/oauth2/v2.0", ""},
		{"allowed in other letters", "contoso", []string{"Fabrikam"}, "fabrikam", "fabrikam/oauth2/v2.0", ""},
		{"all are", "contoso", []string{"*"}, "fabrikam", "fabrikam/oauth2/v2.0", ""},
		{"a space in the list is part of a name", "contoso", []string{" fabrikam"}, "fabrikam", "", notAllowed},
		{"illegal", "contoso", []string{"*"}, "a/b", "", "the request's tenant ID is not valid: it has at most 253 letters, digits, dots and hyphens only"},
		{"illegal and listed", "contoso", []string{"a/b"}, "a/b", "", "the request's tenant ID is not valid: it has at most 253 letters, digits, dots and hyphens only"},
		{"the credential's with a sign that folds to a letter", "kontoso", nil, "\u212aontoso", "", "the request's tenant ID is not valid: it has at most 253 letters, digits, dots and hyphens only"},
		{"as long as a domain name can be", "contoso", []string{"*"}, strings.Repeat("a", 253), strings.Repeat("a", 253) + "/oauth2/v2.0", ""},
		{"longer", "contoso", []string{"*"}, strings.Repeat("a", 254), "", "the request's tenant ID is not valid: it has at most 253 letters, digits, dots and hyphens only"},
		{"AD FS", "adfs", []string{"*"}, "fabrikam", "", "AD FS has no tenants, but the request names one"},
		{"AD FS itself", "adfs", nil, "adfs", "adfs/oauth2", ""},
	} {
		for _, variable := range []bool{false, true} {
			t.Run(fmt.Sprint(row.name, ", by variable: ", variable), func(t *testing.T) {
				f := &fakeEntra{}
				var c azcore.TokenCredential = newSecret(t, f, row.home, "c", "s", ClientSecretCredentialOptions{AdditionallyAllowedTenants: row.allowed})
				who := "ClientSecretCredential: Entra: "
				if variable {
					list := ""
					for i, tenant := range row.allowed {
						list += ";"[:min(i, 1)] + tenant
					}
					setenv(t, "AZURE_TENANT_ID="+row.home, "AZURE_CLIENT_ID=c", "AZURE_CLIENT_SECRET=s", "AZURE_ADDITIONALLY_ALLOWED_TENANTS="+list)
					c = newDefault(t, DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: f}})
					who = "EnvironmentCredential: Entra: "
				}
				for range 2 {
					_, err := c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: []string{vault}, TenantID: row.tenant})
					if row.err != "" {
						requireError(t, err, who+row.err)
						require.Equal(t, ReasonConfiguration, asCredentialError(t, err))
						require.Zero(t, f.Count())
						continue
					}
					require.NoError(t, err)
					require.Equal(t, 1, f.Count(), "the second is a hit")
					require.Equal(t, "/"+row.want+"/token", f.Sent[0].URL.Path)
				}
			})
		}
	}
}

func TestTenant_theOptionReplacesTheVariablesTenants(t *testing.T) {
	blankEnvironment(t)
	setenv(t, "AZURE_TENANT_ID=contoso", "AZURE_CLIENT_ID=c", "AZURE_CLIENT_SECRET=s", "AZURE_ADDITIONALLY_ALLOWED_TENANTS=*")
	c := newDefault(t, DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: &fakeEntra{}}, AdditionallyAllowedTenants: []string{"x"}})
	_, err := c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: []string{vault}, TenantID: "fabrikam"})
	require.Equal(t, ReasonConfiguration, asCredentialError(t, err))
}

// What changes the request, or proves another identity, has a token of its own; what doesn't, shares one.
func TestTenant_tokensDoNotMix(t *testing.T) {
	blankEnvironment(t)
	f := &fakeEntra{}
	cache := NewTokenCache(nil)
	secret := func(authority, tenant, client, secret string) azcore.TokenCredential {
		o := azcore.ClientOptions{Transport: f, Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: authority}}
		c, err := NewClientSecretCredential(tenant, client, secret, &ClientSecretCredentialOptions{ClientOptions: o, Cache: cache, AdditionallyAllowedTenants: []string{"*"}})
		require.NoError(t, err)
		return c
	}
	plain := policy.TokenRequestOptions{Scopes: []string{vault}}
	with := func(change func(*policy.TokenRequestOptions)) policy.TokenRequestOptions {
		o := plain
		change(&o)
		return o
	}
	public := "https://login.microsoftonline.com/"
	first := secret(public, "t", "c", "s")
	chain, err := NewChainedTokenCredential([]azcore.TokenCredential{first}, nil)
	require.NoError(t, err)
	seen := map[string]string{} // token → name
	for _, row := range []struct {
		name string
		cred azcore.TokenCredential
		opts policy.TokenRequestOptions
		same string // the row whose token it is
	}{
		{"first", first, plain, ""},
		{"first again", secret(public, "t", "c", "s"), plain, "first"},
		{"other letters", secret("https://LOGIN.microsoftonline.com", "T", "C", "s"), plain, "first"},
		{"in a chain", chain, plain, "first"},
		{"its own tenant", first, with(func(o *policy.TokenRequestOptions) { o.TenantID = "T" }), "first"},
		{"wrong secret", secret(public, "t", "c", "S"), plain, ""},
		{"other client", secret(public, "t", "c2", "s"), plain, ""},
		{"other tenant", secret(public, "t2", "c", "s"), plain, ""},
		{"other tenant by request", first, with(func(o *policy.TokenRequestOptions) { o.TenantID = "t2" }), "other tenant"},
		{"other tenant by request in a chain", chain, with(func(o *policy.TokenRequestOptions) { o.TenantID = "T2" }), "other tenant"},
		{"other authority", secret("https://login.microsoftonline.us/", "t", "c", "s"), plain, ""},
		{"authority and tenant moved", secret(public+"t", "t", "c", "s"), plain, ""},
		{"CAE", first, with(func(o *policy.TokenRequestOptions) { o.EnableCAE = true }), ""},
		{"CAE in a chain", chain, with(func(o *policy.TokenRequestOptions) { o.EnableCAE = true }), "CAE"},
		{"CAE in the other tenant", first, with(func(o *policy.TokenRequestOptions) { o.EnableCAE, o.TenantID = true, "t2" }), ""},
		{"CAE of the other tenant's own", secret(public, "t2", "c", "s"), with(func(o *policy.TokenRequestOptions) { o.EnableCAE = true }), "CAE in the other tenant"},
		{"other scope", first, with(func(o *policy.TokenRequestOptions) { o.Scopes = []string{"api://x/.default"} }), ""},
		{"a bare resource is another scope", first, with(func(o *policy.TokenRequestOptions) { o.Scopes = []string{"https://vault.azure.net"} }), ""},
		{"two scopes", first, with(func(o *policy.TokenRequestOptions) { o.Scopes = []string{vault, "api://x/.default"} }), ""},
		{"two scopes again", first, with(func(o *policy.TokenRequestOptions) { o.Scopes = []string{vault, "api://x/.default"} }), "two scopes"},
		{"first at last", first, plain, "first"},
	} {
		t.Run(row.name, func(t *testing.T) {
			token, err := row.cred.GetToken(ctx0, row.opts)
			require.NoError(t, err)
			name, old := seen[token.Token]
			require.Equal(t, row.same != "", old)
			require.Equal(t, row.same, name)
			if !old {
				seen[token.Token] = row.name
			}
		})
	}
}
