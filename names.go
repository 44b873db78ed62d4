package managedid

// The path and version of the module, for azcore's telemetry and the addresses of help.
const (
	modulePath = "github.com/managedid/managedid"
	version    = "v0.1.0"
)

// The types of credentials. AZURE_TOKEN_CREDENTIALS selects by these names, and the credentials' errors begin with
// them.
const (
	nameDefault           = "DefaultAzureCredential"
	nameChained           = "ChainedTokenCredential"
	nameEnvironment       = "EnvironmentCredential"
	nameWorkloadIdentity  = "WorkloadIdentityCredential"
	nameManagedIdentity   = "ManagedIdentityCredential"
	nameClientSecret      = "ClientSecretCredential"
	nameClientCertificate = "ClientCertificateCredential"
	nameClientAssertion   = "ClientAssertionCredential"
	nameAzureCLI          = "AzureCLICredential"
	nameAzureDeveloperCLI = "AzureDeveloperCLICredential"
)

// Environment variables that several files use.
const (
	selectorVariable  = "AZURE_TOKEN_CREDENTIALS"
	tokenFileVariable = "AZURE_FEDERATED_TOKEN_FILE"
	// thumbprintVariable has the SHA-1 of Service Fabric's certificate, which each cluster signs itself.
	thumbprintVariable = "IDENTITY_SERVER_THUMBPRINT"

	// The webhook of Azure workload identity sets these variables in a pod with an identity binding.
	tokenProxyVariable = "AZURE_KUBERNETES_TOKEN_PROXY"
	tokenProxySNI      = "AZURE_KUBERNETES_SNI_NAME"
	tokenProxyCAFile   = "AZURE_KUBERNETES_CA_FILE"
	tokenProxyCAData   = "AZURE_KUBERNETES_CA_DATA"
)
