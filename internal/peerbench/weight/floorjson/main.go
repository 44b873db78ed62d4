// Floorjson is floor with what any client of a service links too: it reads a JSON object.
package main

import (
	"encoding/json"
	"os"

	"github.com/managedid/managedid/internal/peerbench/weight"
)

func main() {
	var answer struct{ Error string }
	if json.Unmarshal([]byte(os.Getenv("WEIGHT_JSON")), &answer) == nil {
		panic(answer.Error)
	}
	weight.Run(weight.Fixed{}, nil)
}
