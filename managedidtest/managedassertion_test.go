package managedidtest

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// exchanged returns a managed identity's token for the exchange.
func exchanged(t *testing.T, e *Emulator) string {
	t.Helper()
	token := getToken(t, e, IMDS, "resource="+defaultAudience)
	return token["access_token"]
}

func TestEntra_issuesATokenForAManagedIdentity(t *testing.T) {
	subject := New(nil).SystemAssigned().ObjectID
	tenant := New(nil).TenantID()
	for name, issuer := range map[string]string{
		"by the issuer of version 2.0": "https://login.microsoftonline.com/" + tenant + "/v2.0",
		"by that of the token itself":  "https://sts.windows.net/" + tenant + "/",
	} {
		t.Run(name, func(t *testing.T) {
			e := New(&Options{Applications: []Application{{Secrets: []Secret{},
				Federated: []FederatedCredential{{Issuer: issuer, Subject: subject}}}}})
			c, err := VerifyToken(t.Context(), &http.Client{Transport: e}, e.JWKSURL(),
				requestToken(t, e, withAssertion(exchanged(t, e))...), vault)
			require.NoError(t, err)
			require.Equal(t, e.Applications()[0].ClientID, c.ClientID)
		})
	}
}

func TestManagedIdentity_asAnAssertionIsRefused(t *testing.T) {
	tenant, subject := New(nil).TenantID(), New(nil).SystemAssigned().ObjectID
	issuer := "https://login.microsoftonline.com/" + tenant + "/v2.0"
	application := New(nil).Applications()[0]
	for _, tt := range []struct {
		name      string
		federated FederatedCredential
		raw       func(t *testing.T, e *Emulator) string
		code      int
	}{
		{"another tenant", FederatedCredential{Issuer: "https://login.microsoftonline.com/x/v2.0", Subject: subject},
			exchanged, 700211},
		{"another identity", FederatedCredential{Issuer: issuer, Subject: "x"}, exchanged, 700213},
		{"another resource", FederatedCredential{Issuer: issuer, Subject: subject},
			func(t *testing.T, e *Emulator) string {
				return getToken(t, e, IMDS)["access_token"]
			}, 700212},
		{"the token of an application", FederatedCredential{Issuer: issuer, Subject: application.ObjectID},
			func(t *testing.T, e *Emulator) string {
				return requestToken(t, e, "scope="+defaultAudience+"/.default")
			}, 700236},
		{"a tampered signature", FederatedCredential{Issuer: issuer, Subject: subject},
			func(t *testing.T, e *Emulator) string {
				parts := strings.Split(exchanged(t, e), ".")
				parts[2] = flip(parts[2])
				return strings.Join(parts, ".")
			}, 700027},
		{"the key of the cluster", FederatedCredential{Issuer: issuer, Subject: subject},
			func(_ *testing.T, e *Emulator) string {
				return signJWT(clusterKey(), "JWT", map[string]any{
					"iss": issuer, "sub": subject, "aud": defaultAudience,
					"xms_mirid": "r"})
			}, 7000272},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := New(&Options{Applications: []Application{{Federated: []FederatedCredential{tt.federated}}}})
			p, _ := refused(t, e, newExchange(t, e, withAssertion(tt.raw(t, e))...))
			require.Equal(t, []int{tt.code}, p.Codes, p.Description)
		})
	}
}

func TestManagedIdentity_asAnAssertionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := "https://login.microsoftonline.com/" + New(nil).TenantID() + "/v2.0"
		e := New(&Options{Applications: []Application{{Federated: []FederatedCredential{{Issuer: issuer,
			Subject: New(nil).SystemAssigned().ObjectID}}}}})
		raw := withAssertion(exchanged(t, e))
		time.Sleep(time.Hour - time.Second)
		requestToken(t, e, raw...)
		time.Sleep(time.Second)
		p, _ := refused(t, e, newExchange(t, e, raw...))
		require.Equal(t, []int{700024}, p.Codes)
	})
}
