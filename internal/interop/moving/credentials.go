package main

import (
	"context"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

var anyTenant = []string{"*"}

var credentials = map[string]func(azcore.ClientOptions) (azcore.TokenCredential, error){
	"default": func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: o,
			AdditionallyAllowedTenants: anyTenant, DisableInstanceDiscovery: true})
	},
	"selected": func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: o,
			DisableInstanceDiscovery: true, RequireAzureTokenCredentials: true, TenantID: os.Getenv("MOVING_TENANT")})
	},
	"environment": func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		return azidentity.NewEnvironmentCredential(&azidentity.EnvironmentCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
	},
	"workload": func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{ClientOptions: o,
			AdditionallyAllowedTenants: anyTenant, DisableInstanceDiscovery: true, EnableAzureProxy: true})
	},
	"workload by options": func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{ClientOptions: o,
			DisableInstanceDiscovery: true, ClientID: value("client"), TenantID: value("tenant"), TokenFilePath: value("file")})
	},
	"system-assigned": func(o azcore.ClientOptions) (azcore.TokenCredential, error) { return managed(o, nil) },
	"client ID": func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		return managed(o, azidentity.ClientID(value("id")))
	},
	"object ID": func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		return managed(o, azidentity.ObjectID(value("id")))
	},
	"resource ID": func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		return managed(o, azidentity.ResourceID(value("id")))
	},
	"secret":      secret,
	"certificate": certificate,
	"assertion": func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		return azidentity.NewClientAssertionCredential(value("tenant"), value("client"), func(context.Context) (string, error) {
			b, err := os.ReadFile(value("file"))
			return string(b), err
		}, &azidentity.ClientAssertionCredentialOptions{ClientOptions: o, AdditionallyAllowedTenants: anyTenant, DisableInstanceDiscovery: true})
	},
	"chain": func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		m, err := managed(o, nil)
		if err != nil {
			return nil, err
		}
		return azidentity.NewChainedTokenCredential([]azcore.TokenCredential{absent{}, m}, &azidentity.ChainedTokenCredentialOptions{RetrySources: true})
	},
	"chain that stops": func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		s, err := secret(o)
		if err != nil {
			return nil, err
		}
		m, err := managed(o, nil)
		if err != nil {
			return nil, err
		}
		return azidentity.NewChainedTokenCredential([]azcore.TokenCredential{s, m}, nil)
	},
	"az": func(azcore.ClientOptions) (azcore.TokenCredential, error) {
		return azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{AdditionallyAllowedTenants: anyTenant,
			Subscription: "Pay as you go", TenantID: value("tenant")})
	},
	"azd": func(azcore.ClientOptions) (azcore.TokenCredential, error) {
		return azidentity.NewAzureDeveloperCLICredential(&azidentity.AzureDeveloperCLICredentialOptions{
			AdditionallyAllowedTenants: anyTenant, TenantID: value("tenant")})
	},
}

func managed(o azcore.ClientOptions, id azidentity.ManagedIDKind) (*azidentity.ManagedIdentityCredential, error) {
	return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: o, ID: id})
}

func secret(o azcore.ClientOptions) (azcore.TokenCredential, error) {
	return azidentity.NewClientSecretCredential(value("tenant"), value("client"), value("secret"), &azidentity.ClientSecretCredentialOptions{
		ClientOptions: o, AdditionallyAllowedTenants: anyTenant, DisableInstanceDiscovery: true})
}

func certificate(o azcore.ClientOptions) (azcore.TokenCredential, error) {
	content, err := os.ReadFile(value("file"))
	if err != nil {
		return nil, err
	}
	certs, key, err := azidentity.ParseCertificates(content, nil)
	if err != nil {
		return nil, err
	}
	return azidentity.NewClientCertificateCredential(value("tenant"), value("client"), certs, key, &azidentity.ClientCertificateCredentialOptions{
		ClientOptions: o, AdditionallyAllowedTenants: anyTenant, DisableInstanceDiscovery: true, SendCertificateChain: true})
}

// absent is a link of the program's own.
type absent struct{}

func (absent) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, azidentity.NewCredentialUnavailableError("not here")
}

// The types themselves, as programs keep and wrap them.
var _ = []azcore.TokenCredential{
	(*azidentity.AzureCLICredential)(nil),
	(*azidentity.AzureDeveloperCLICredential)(nil),
	(*azidentity.ChainedTokenCredential)(nil),
	(*azidentity.ClientAssertionCredential)(nil),
	(*azidentity.ClientCertificateCredential)(nil),
	(*azidentity.ClientSecretCredential)(nil),
	struct {
		*azidentity.DefaultAzureCredential
	}{},
	(*azidentity.EnvironmentCredential)(nil),
	(*azidentity.ManagedIdentityCredential)(nil),
	(*azidentity.WorkloadIdentityCredential)(nil),
}

var _ = []func(azidentity.ManagedIDKind) string{azidentity.ManagedIDKind.String, func(id azidentity.ManagedIDKind) string {
	switch id := id.(type) {
	case azidentity.ClientID:
		return id.String()
	case azidentity.ObjectID:
		return id.String()
	case azidentity.ResourceID:
		return id.String()
	}
	return ""
}}
