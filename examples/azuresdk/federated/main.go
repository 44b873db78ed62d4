// Federated reads a secret from a Key Vault in another tenant. Managed identities belong to one tenant, but an application can
// have a service principal in any: here it proves itself with a managed identity's token instead of a secret or certificate.
// The identity has to be user-assigned; its client ID is in Managed_Identity_Client_ID. APP_CLIENT_ID is the application's,
// registered in the identity's tenant with a federated credential that trusts it, and CUSTOMER_TENANT_ID the other tenant, where
// the application's service principal needs the role Key Vault Secrets User. For the vault see the example keyvault.
//
// In the lab Entra and the vault are the emulator's. Both verify what they get: Entra the assertion, with the federated
// credential's issuer, subject and audience, and the vault the token, with the other tenant's issuer. They know no roles.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/managedid/managedid"
)

func main() {
	log.SetFlags(0)
	identity, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{
		ID: managedid.ClientID(os.Getenv("Managed_Identity_Client_ID")),
	})
	if err != nil {
		log.Fatal(err)
	}
	getAssertion := func(ctx context.Context) (string, error) { // called for each new token; the identity's is cached
		t, err := identity.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"api://AzureADTokenExchange/.default"}})
		return t.Token, err
	}
	cred, err := managedid.NewClientAssertionCredential(os.Getenv("CUSTOMER_TENANT_ID"), os.Getenv("APP_CLIENT_ID"), getAssertion, nil)
	if err != nil {
		log.Fatal(err)
	}
	client, err := azsecrets.NewClient(os.Getenv("AZURE_KEYVAULT_URL"), cred, nil)
	if err != nil {
		log.Fatal(err)
	}
	secret, err := client.GetSecret(context.Background(), os.Getenv("SECRET_NAME"), "", nil)
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		log.Fatalf("the vault answers %d %s (401: it isn't in the tenant CUSTOMER_TENANT_ID; 403: give the application there the role "+
			"Key Vault Secrets User; 404: mend SECRET_NAME)", e.StatusCode, e.ErrorCode)
	} else if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s has %d characters\n", secret.ID.Name(), len(*secret.Value))
}
