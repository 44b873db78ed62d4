package managedidtest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEntra_issuesATokenForAnAssertion(t *testing.T) {
	e := New(&Options{Applications: []Application{{}, {ClientID: "C", Federated: []FederatedCredential{
		{}, {Subject: "system:serviceaccount:ns:sa", Audience: "A"},
	}}}})
	tests := []struct {
		name, client string
		options      *TokenFileOptions
	}{
		{"of the defaults", e.Applications()[0].ClientID, nil},
		{"of another application", "C", nil},
		{"of another account", "C", &TokenFileOptions{Subject: "system:serviceaccount:ns:sa", Audience: "A",
			Lifetime: time.Minute}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newTokenFile(t, e, tt.options)
			token := requestToken(t, e, append(withAssertion(read(t, f.Path)+"\n"), "client_id="+tt.client)...)
			c, err := VerifyToken(t.Context(), &http.Client{Transport: e}, e.JWKSURL(), token, vault)
			require.NoError(t, err)
			require.Equal(t, tt.client, c.ClientID)
			var proof struct {
				Value string `json:"appidacr"`
			}
			require.NoError(t, decodePart(strings.Split(token, ".")[1], &proof))
			require.Equal(t, "2", proof.Value)
		})
	}
}

func TestAssertion_isGoodForItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(nil)
		f := newTokenFile(t, e, nil)
		begin := time.Now()
		old := withAssertion(read(t, f.Path))
		time.Sleep(time.Hour - time.Nanosecond)
		requestToken(t, e, old...)
		time.Sleep(time.Nanosecond)
		p, status := refused(t, e, newExchange(t, e, old...))
		require.Equal(t, 401, status)
		require.Equal(t, "invalid_client", p.Error)
		require.Equal(t, []int{700024}, p.Codes)
		require.Contains(t, p.Description, "AADSTS700024: Client assertion is not within its valid time range. "+
			"Current time: 2000-01-01T01:00:00.0000000Z, assertion valid from 2000-01-01T00:00:00.0000000Z, "+
			"expiry time of assertion 2000-01-01T01:00:00.0000000Z. ")
		require.NoError(t, f.Rotate())
		requestToken(t, e, withAssertion(read(t, f.Path))...)
		require.Equal(t, time.Hour, time.Since(begin))
	})
}

// changedAssertion returns a valid assertion with one change.
func changedAssertion(change func(*podClaims)) string {
	now := time.Now()
	c := podClaims{
		Audience: []string{defaultAudience}, Issuer: clusterIssuer(), Subject: defaultSubject,
		NotBefore: now.Unix(), Expires: now.Add(time.Hour).Unix(),
	}
	change(&c)
	return signJWT(clusterKey(), "", c)
}

// tampered replaces a part of a valid assertion.
func tampered(part int, by func(string) string) func() string {
	return func() string {
		parts := strings.Split(changedAssertion(func(*podClaims) {}), ".")
		parts[part] = by(parts[part])
		return strings.Join(parts, ".")
	}
}

func to(s string) func(string) string { return func(string) string { return s } }

func changing(change func(*podClaims)) func() string {
	return func() string { return changedAssertion(change) }
}

const noRecord = "No matching federated identity record found for presented assertion"

var assertionRefusals = []struct {
	name      string
	raw       func() string
	federated []FederatedCredential
	status    int
	code      int
	error     string
	text      string // prefix of the description
}{
	{"no JWT", func() string { return "x" }, nil, 400, 50027, "invalid_request", "JWT token is invalid or malformed."},
	{"no header", tampered(0, to("eA")), nil, 400, 50027, "invalid_request", ""},
	{"no claims", tampered(1, to("eA")), nil, 400, 50027, "invalid_request", ""},
	{"an audience that is none", tampered(1, to("eyJhdWQiOjF9")), nil, 400, 50027, "invalid_request", ""},
	{"no signature", tampered(2, to("*")), nil, 400, 50027, "invalid_request", ""},
	{"no federated credential", changing(func(*podClaims) {}), []FederatedCredential{}, 400, 70021, "invalid_request",
		noRecord + ". Assertion Issuer: '" + clusterIssuer() +
			"'. Assertion Subject: 'system:serviceaccount:default:emulator'. " +
			"Assertion Audience: 'api://AzureADTokenExchange'. "},
	{"another issuer", changing(func(c *podClaims) { c.Issuer += "x" }), nil, 401, 700211, "invalid_client",
		noRecord + " issuer '" + clusterIssuer() + "x'. Check your federated identity credential Subject, Audience " +
			"and Issuer against the presented assertion. "},
	{"another audience", changing(func(c *podClaims) { c.Audience = []string{"api://AKSIdentityBinding"} }), nil, 401,
		700212, "invalid_client",
		noRecord + " audience 'api://AKSIdentityBinding'. "},
	{"another subject", changing(func(c *podClaims) { c.Subject += "x" }), nil, 401, 700213, "invalid_client",
		noRecord + " subject 'system:serviceaccount:default:emulatorx'. "},
	{"a subject in other case", changing(func(c *podClaims) { c.Subject = strings.ToUpper(c.Subject) }), nil, 401,
		700213, "invalid_client", ""},
	{"two credentials, mixed", changing(func(c *podClaims) { c.Subject = "b" }),
		[]FederatedCredential{{}, {Subject: "b", Audience: "x"}},
		401, 700212, "invalid_client", ""},
	{"an unknown key", tampered(0, to("eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ")), nil, 401, 7000272, "invalid_client",
		"The certificate with identifier x used to sign the federated credential could not be found in the metadata " +
			"of identity provider " + clusterIssuer() + ". "},
	{"a tampered signature", tampered(2, flip), nil, 401, 700027, "invalid_client",
		"Client assertion contains an invalid signature. "},
	{"not yet valid", changing(func(c *podClaims) { c.NotBefore += 60 }), nil, 401, 700024, "invalid_client",
		"Client assertion is not within its valid time range. Current time: "},
	{"no expiry", changing(func(c *podClaims) { c.Expires = 0 }), nil, 401, 700024, "invalid_client", ""},
}

func TestAssertion_isRefused(t *testing.T) {
	for _, tt := range assertionRefusals {
		t.Run(tt.name, func(t *testing.T) {
			e := New(&Options{Applications: []Application{{Federated: tt.federated}}})
			p, status := refused(t, e, newExchange(t, e, withAssertion(tt.raw())...))
			require.Equal(t, tt.status, status)
			require.Equal(t, []int{tt.code}, p.Codes)
			require.Equal(t, tt.error, p.Error)
			require.True(t, strings.HasPrefix(p.Description, fmt.Sprintf("AADSTS%d: %s", tt.code, tt.text)),
				p.Description)
		})
	}
}

func TestAssertion_ofAnotherAlgorithmIsRefused(t *testing.T) {
	e := New(nil)
	header := jsonPart(jwtHeader{Algorithm: "none", KeyID: keyID(&clusterKey().PublicKey)})
	p, _ := refused(t, e, newExchange(t, e, withAssertion(tampered(0, to(header))())...))
	require.Equal(t, []int{700027}, p.Codes)
}

func TestAssertion_mayHaveOneAudienceAsAString(t *testing.T) {
	e := New(nil)
	now := time.Now().Unix()
	raw := signJWT(clusterKey(), "", map[string]any{"aud": defaultAudience, "iss": clusterIssuer(),
		"sub": defaultSubject, "exp": now + 60})
	requestToken(t, e, withAssertion(raw)...)
}

func TestAssertion_ofAnIssuerOfOnesOwn(t *testing.T) {
	const issuer = "https://idp.example"
	e := New(&Options{Applications: []Application{{Federated: []FederatedCredential{{Issuer: issuer}}}}})
	f, err := e.NewTokenFile(t.TempDir(), &TokenFileOptions{Issuer: issuer})
	require.NoError(t, err)
	requestToken(t, e, withAssertion(read(t, f.Path))...)
}
