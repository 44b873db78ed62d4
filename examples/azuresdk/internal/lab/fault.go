package lab

import (
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/managedid/managedid/managedidtest"
)

// Faults are what may go wrong on Azure, by the names that the command knows.
var Faults = map[string]func(*Lab) error{
	"revoked":  (*Lab).revoke,
	"audience": (*Lab).wrongAudience,
}

// revoke takes all identities away from the host.
func (l *Lab) revoke() error {
	for _, id := range append(l.Emulator.UserAssigned(), l.Emulator.SystemAssigned()) {
		if id.ClientID != "" {
			l.Emulator.RemoveIdentity(id.ClientID)
		}
	}
	return nil
}

// wrongAudience has the metadata service give good tokens that are for another resource than was asked for.
func (l *Lab) wrongAudience() error {
	req, err := http.NewRequest(http.MethodGet, l.Emulator.URL+"/metadata/identity/oauth2/token", nil)
	if err != nil {
		return err
	}
	query := url.Values{"api-version": {"2018-02-01"}, "resource": {"https://other.example"}}
	if id := l.getenv("Managed_Identity_Client_ID"); id != "" {
		query.Set("client_id", id)
	}
	req.URL.RawQuery = query.Encode()
	req.Header.Set("Metadata", "true")
	resp, err := l.Emulator.Client().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("lab: the emulator answers %s", resp.Status)
	}
	if err != nil {
		return err
	}
	l.Emulator.Inject(managedidtest.Fault{Endpoint: managedidtest.IMDS, Body: string(body)})
	return nil
}
