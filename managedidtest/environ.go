package managedidtest

// variables are those that identity libraries read to find a credential.
var variables = [...]string{
	"AZURE_ADDITIONALLY_ALLOWED_TENANTS",
	"AZURE_AUTHORITY_HOST",
	"AZURE_CLIENT_CERTIFICATE_PASSWORD",
	"AZURE_CLIENT_CERTIFICATE_PATH",
	"AZURE_CLIENT_ID",
	"AZURE_CLIENT_SECRET",
	"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN",
	"AZURE_FEDERATED_TOKEN_FILE",
	"AZURE_KUBERNETES_CA_DATA",
	"AZURE_KUBERNETES_CA_FILE",
	"AZURE_KUBERNETES_SNI_NAME",
	"AZURE_KUBERNETES_TOKEN_PROXY",
	"AZURE_PASSWORD",
	"AZURE_POD_IDENTITY_AUTHORITY_HOST",
	"AZURE_REGIONAL_AUTHORITY_NAME",
	"AZURE_TENANT_ID",
	"AZURE_TOKEN_CREDENTIALS",
	"AZURE_USERNAME",
	"DEFAULT_IDENTITY_CLIENT_ID",
	"IDENTITY_ENDPOINT",
	"IDENTITY_HEADER",
	"IDENTITY_SERVER_THUMBPRINT",
	"IMDS_ENDPOINT",
	"MSI_ENDPOINT",
	"MSI_SECRET",
}

// Environ returns the environment variables of a host with that token endpoint, [IMDS] or [AppService]. Every other
// variable that identity libraries read is in it with an empty value, which counts as unset, so that the environment of
// the machine does not matter. Any other endpoint means a host without one: all values are empty. The value of
// IDENTITY_HEADER is a secret.
func (e *Emulator) Environ(host Endpoint) map[string]string {
	env := make(map[string]string, len(variables))
	for _, name := range variables {
		env[name] = ""
	}
	switch host {
	case IMDS:
		env["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = e.URL
	case AppService:
		env["IDENTITY_ENDPOINT"] = e.URL + "/" + appServicePath
		env["IDENTITY_HEADER"] = e.s.currentSecret()
	}
	return env
}

// Setenv sets the variables of [Emulator.Environ] for the rest of the test. A *testing.T is such a t.
func (e *Emulator) Setenv(t interface {
	Helper()
	Setenv(key, value string)
}, host Endpoint) {
	t.Helper()
	for name, value := range e.Environ(host) {
		t.Setenv(name, value)
	}
}

// RotateSecret makes a new IDENTITY_HEADER, as App Service does now and then, and forgets the old one. Environ and Setenv
// report it from then on.
func (e *Emulator) RotateSecret() {
	secret := newSecret()
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.s.secret = secret
}

func (s *state) currentSecret() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secret
}
