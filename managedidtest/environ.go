package managedidtest

import (
	"errors"
	"os"
)

// variables are the environment variables that identity libraries read to find a credential.
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

// Environ returns the environment variables of a host. The hosts are [IMDS], [AppService], [Arc], [CloudShell],
// [AzureML], [ServiceFabric], [EntraSecret], [EntraCertificate], [Workload], [IdentityBinding] and [AppService2017].
// Several of them may be combined. Environ panics for an endpoint that is not a host. The map also contains every other
// variable that identity libraries read, with an empty value that counts as unset, so the environment of the machine
// has no effect. Without hosts, all values are empty, as on a host without a token endpoint. The values of
// IDENTITY_HEADER, MSI_SECRET and AZURE_CLIENT_SECRET are secrets.
//
// AZURE_CLIENT_ID and AZURE_CLIENT_SECRET belong to the first application. AZURE_FEDERATED_TOKEN_FILE is the path of
// the latest [Emulator.NewTokenFile], and AZURE_CLIENT_CERTIFICATE_PATH that of the latest
// [Emulator.NewCertificateFile]. Each is empty if there is no such file. The variables of an IdentityBinding describe
// the latest [Server.NewTokenProxy]. IDENTITY_SERVER_THUMBPRINT is the thumbprint of the certificate of a [Server].
// Without sockets, it is made up. A client of ServiceFabric then needs the emulator behind its certificate check, for
// example in a policy.
func (e *Emulator) Environ(hosts ...Endpoint) map[string]string {
	env := make(map[string]string, len(variables))
	for _, name := range variables {
		env[name] = ""
	}
	for _, host := range hosts {
		switch host {
		case IMDS:
			env["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = e.URL
		case AppService:
			env["IDENTITY_ENDPOINT"] = e.URL + "/" + appServicePath
			env["IDENTITY_HEADER"] = e.s.currentSecret()
		case Arc:
			env["IMDS_ENDPOINT"] = e.URL + "/" + arcRoot
			env["IDENTITY_ENDPOINT"] = e.URL + "/" + arcRoot + "/" + imdsPath
		case CloudShell:
			env["MSI_ENDPOINT"] = e.URL + "/" + cloudShellPath
		case AzureML:
			env["MSI_ENDPOINT"] = e.URL + "/" + azureMLPath
			env["MSI_SECRET"] = e.s.currentSecret()
			if id := e.s.defaultIdentity(); id != nil {
				env["DEFAULT_IDENTITY_CLIENT_ID"] = id.ClientID
			}
		case ServiceFabric:
			e.s.fabricEnviron(env)
		case AppService2017:
			env["MSI_ENDPOINT"] = e.URL + "/" + appServicePath
			env["MSI_SECRET"] = e.s.currentSecret()
		case EntraSecret:
			e.entraEnviron(env)
			env["AZURE_CLIENT_SECRET"] = e.s.applications[0].firstSecret()
		case EntraCertificate:
			e.entraEnviron(env)
			env["AZURE_CLIENT_CERTIFICATE_PATH"] = e.s.lastCertificateFile()
		case Workload:
			e.entraEnviron(env)
			env["AZURE_FEDERATED_TOKEN_FILE"] = e.s.lastTokenFile()
		case IdentityBinding:
			e.entraEnviron(env)
			e.s.bindingEnviron(env)
		case Entra, Discovery, Keys:
			panic("managedidtest: " + string(host) + " is no host; EntraSecret, EntraCertificate and Workload are")
		}
	}
	return env
}

// entraEnviron sets the variables that all hosts with Entra share.
func (e *Emulator) entraEnviron(env map[string]string) {
	env["AZURE_AUTHORITY_HOST"] = e.AuthorityHost
	env["AZURE_CLIENT_ID"] = e.s.applications[0].ClientID
	env["AZURE_TENANT_ID"] = e.s.options.TenantID
}

func (s *state) bindingEnviron(env map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.proxy; p != nil {
		env["AZURE_FEDERATED_TOKEN_FILE"] = p.TokenFile.Path
		env["AZURE_KUBERNETES_CA_FILE"] = p.CAFile
		env["AZURE_KUBERNETES_SNI_NAME"] = p.ServerName
		env["AZURE_KUBERNETES_TOKEN_PROXY"] = p.URL
	}
}

// Setenv sets the variables of [Emulator.Environ] for the rest of the test. It removes the variables that are empty,
// since some libraries treat an empty variable as set. t is usually a [*testing.T].
//
// Setenv also creates what the variables name, in a directory of the test. For [Workload] this is a token file, for
// [EntraCertificate] a certificate file, and for [IdentityBinding] a token proxy with its files. It reuses the latest
// one if its files still exist. For [Arc], it creates the directory of [Options].KeyDir. It panics if it cannot create
// them.
func (e *Emulator) Setenv(t interface {
	Helper()
	Setenv(key, value string)
	TempDir() string
}, hosts ...Endpoint) {
	t.Helper()
	for _, host := range hosts {
		must(e.makeFiles(host, t.TempDir))
	}
	for name, value := range e.Environ(hosts...) {
		t.Setenv(name, value) // restores the old value, or its absence, after the test
		if value == "" {
			os.Unsetenv(name)
		}
	}
}

// makeFiles makes the files that the variables of a host name, unless the latest ones still exist.
func (e *Emulator) makeFiles(host Endpoint, dir func() string) (err error) {
	env := e.Environ(host)
	switch {
	case host == Workload && !exists(env["AZURE_FEDERATED_TOKEN_FILE"]):
		_, err = e.NewTokenFile(dir(), nil)
	case host == EntraCertificate && !exists(env["AZURE_CLIENT_CERTIFICATE_PATH"]):
		_, err = e.NewCertificateFile(dir())
	case host == IdentityBinding && e.s.newProxy == nil:
		err = errors.New("an IdentityBinding takes a Server, since its clients use a transport of their own")
	case host == IdentityBinding && !exists(env["AZURE_KUBERNETES_CA_FILE"]):
		_, err = e.s.newProxy(dir())
	case host == Arc:
		err = e.MakeKeyDir()
	}
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// RotateSecret replaces the value of IDENTITY_HEADER and MSI_SECRET, as App Service does now and then. The endpoints
// reject the old value. Environ and Setenv then use the new one.
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

func (s *state) lastTokenFile() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokenFile
}
