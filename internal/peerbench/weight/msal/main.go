// Msal gets a managed identity's token, behind azcore's interface.
package main

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/managedidentity"
	"github.com/managedid/managedid/internal/peerbench/weight"
)

type credential struct{ managedidentity.Client }

func (c credential) GetToken(ctx context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	got, err := c.AcquireToken(ctx, opts.Scopes[0])
	return azcore.AccessToken{Token: got.AccessToken, ExpiresOn: got.ExpiresOn}, err
}

func main() {
	c, err := managedidentity.New(managedidentity.SystemAssigned())
	weight.Run(credential{c}, err)
}
