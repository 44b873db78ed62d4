// Managediddefault gets a token through managedid's default chain.
package main

import (
	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/peerbench/weight"
)

func main() { weight.Run(managedid.NewDefaultAzureCredential(nil)) }
