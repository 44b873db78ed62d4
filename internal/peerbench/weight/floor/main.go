// Floor is azcore's own pipeline with a token from nowhere.
package main

import "github.com/managedid/managedid/internal/peerbench/weight"

func main() { weight.Run(weight.Fixed{}, nil) }
