package lab

import (
	"net/url"

	"github.com/managedid/managedid/managedidtest"
)

const (
	vaultHost   = "lab-vault.vault.azure.net"
	secretName  = "database-password"
	secretValue = "made-up password"
)

// KeyVault starts a Key Vault in the identities' tenant, with one secret.
func (l *Lab) KeyVault() error {
	return l.vault(l.Emulator, vaultHost)
}

func (l *Lab) vault(azure *managedidtest.Server, host string) error {
	srv := azure.NewKeyVault(map[string]string{secretName: secretValue})
	l.Setenv("AZURE_KEYVAULT_URL", "https://"+host)
	l.Setenv("SECRET_NAME", secretName)
	return l.lead(host, srv.URL)
}

// lead has the proxy lead a host name to a server's URL.
func (l *Lab) lead(host, to string) error {
	u, err := url.Parse(to)
	if err != nil {
		return err
	}
	l.Route(host, u.Host)
	return nil
}

// REST starts an API that shows whose token it got.
func (l *Lab) REST() error {
	const host = "orders.example"
	srv := l.Emulator.NewResource("https://"+host, nil)
	l.Setenv("API_URL", "https://"+host+"/orders")
	l.Setenv("API_SCOPE", "https://"+host+"/.default")
	return l.lead(host, srv.URL)
}

// customer is the other tenant of Federated.
const customer = "3c7e1b0a-94d2-4f57-8a63-5d0e9b21f4c8"

// Federated starts a Key Vault in another tenant, which trusts the first application's service principal there.
func (l *Lab) Federated() error {
	other, err := managedidtest.Listen(&managedidtest.Options{TenantID: customer}) // whose keys are the first's, as in Azure
	if err != nil {
		return err
	}
	l.onClose(func() error { other.Close(); return nil })
	if err := l.trust(other.CertificatePEM()); err != nil {
		return err
	}
	l.Setenv("CUSTOMER_TENANT_ID", customer)
	l.Setenv("APP_CLIENT_ID", l.Emulator.Applications()[0].ClientID)
	l.Setenv("Managed_Identity_Client_ID", l.Emulator.UserAssigned()[0].ClientID)
	return l.vault(other, "customer-vault.vault.azure.net")
}

// host is a virtual machine with a system-assigned and a user-assigned identity. An application trusts the latter.
func host() *managedidtest.Options {
	const tenant = "9d1f6c52-7b38-4e0a-b5c4-2f8a6e13d7b0"
	identity := managedidtest.Identity{ObjectID: "b1f2c0de-5a47-4c1d-9e86-70d3a4f5b291"}
	return &managedidtest.Options{
		TenantID: tenant, OtherTenants: []string{customer}, UserAssigned: []managedidtest.Identity{identity},
		Applications: []managedidtest.Application{{Federated: []managedidtest.FederatedCredential{
			{Issuer: "https://login.microsoftonline.com/" + tenant + "/v2.0", Subject: identity.ObjectID}}}},
	}
}
