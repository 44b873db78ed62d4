// Managedid gets a managed identity's token.
package main

import (
	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/peerbench/weight"
)

func main() { weight.Run(managedid.NewManagedIdentityCredential(nil)) }
