// Azidentitydefault gets a token through azidentity's default chain.
package main

import (
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/managedid/managedid/internal/peerbench/weight"
)

func main() { weight.Run(azidentity.NewDefaultAzureCredential(nil)) }
