// Azidentity gets a managed identity's token.
package main

import (
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/managedid/managedid/internal/peerbench/weight"
)

func main() { weight.Run(azidentity.NewManagedIdentityCredential(nil)) }
