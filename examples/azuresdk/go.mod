module github.com/managedid/managedid/examples/azuresdk

go 1.26.0

require (
	github.com/managedid/managedid v0.0.0
	github.com/stretchr/testify v1.12.1
)

require go.yaml.in/yaml/v3 v3.0.6 // indirect

replace github.com/managedid/managedid => ../..
