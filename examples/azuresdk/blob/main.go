// Blob downloads a blob as the host's managed identity. The URL of the blob is in AZURE_BLOB_URL,
// https://ACCOUNT.blob.core.windows.net/CONTAINER/NAME; the client ID of a user-assigned identity, if it is to be one, in
// Managed_Identity_Client_ID. The identity needs the role Storage Blob Data Reader.
//
// In the lab the service is Azurite, over TLS. It checks the token's audience, issuer and life, but not its signature, and
// knows no roles: Azure does both.
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/managedid/managedid"
)

func main() {
	log.SetFlags(0)
	cred, err := managedid.NewDefaultAzureCredential(&managedid.DefaultAzureCredentialOptions{
		ManagedIdentityClientID: os.Getenv("Managed_Identity_Client_ID"), // empty: the system-assigned identity
	})
	if err != nil {
		log.Fatal(err)
	}
	client, err := blob.NewClient(os.Getenv("AZURE_BLOB_URL"), cred, nil)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := client.DownloadStream(context.Background(), nil)
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		log.Fatalf("the storage account answers %d %s (AuthorizationPermissionMismatch: give the identity the role Storage Blob Data Reader; "+
			"any other 401 or 403: the account belongs to another tenant or cloud; 404: mend AZURE_BLOB_URL)", e.StatusCode, e.ErrorCode)
	} else if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		log.Fatal(err)
	}
}
