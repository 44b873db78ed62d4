// Keyvault reads a secret from Azure Key Vault as the host's managed identity. The vault's URL is in AZURE_KEYVAULT_URL,
// https://NAME.vault.azure.net, and the secret's name in SECRET_NAME. The identity needs the role Key Vault Secrets User.
//
// In the lab the vault is the emulator's. It issues Key Vault's challenge, and verifies the token's signature, issuer,
// audience and life; it knows no roles.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/managedid/managedid"
)

func main() {
	log.SetFlags(0)
	cred, err := managedid.NewDefaultAzureCredential(nil)
	if err != nil {
		log.Fatal(err)
	}
	client, err := azsecrets.NewClient(os.Getenv("AZURE_KEYVAULT_URL"), cred, nil)
	if err != nil {
		log.Fatal(err)
	}
	secret, err := client.GetSecret(context.Background(), os.Getenv("SECRET_NAME"), "", nil) // "" is the latest version
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		log.Fatalf("the vault answers %d %s (401: it belongs to another tenant or cloud; 403: give the identity the role "+
			"Key Vault Secrets User; 404: mend SECRET_NAME)", e.StatusCode, e.ErrorCode)
	} else if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s has %d characters\n", secret.ID.Name(), len(*secret.Value)) // the value itself is nobody's to see
}
