package managedidtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// applicationKey and otherKey are made once, since this is slow.
var applicationKey, otherKey = newSigningKey(), newSigningKey()

func newCertificate(t *testing.T, key crypto.Signer, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := certificate(time.Now().UnixNano(), "application")
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

func x5tS256(c *x509.Certificate) []byte {
	sum := sha256.Sum256(c.Raw)
	return sum[:]
}

func x5t(c *x509.Certificate) []byte {
	sum := sha1.Sum(c.Raw)
	return sum[:]
}

// signCertified signs an assertion with the algorithm that the header names.
func signCertified(t *testing.T, key *rsa.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	signed := jsonPart(header) + "." + jsonPart(claims)
	sum := sha256.Sum256([]byte(signed))
	var signature []byte
	var err error
	if header["alg"] == "PS256" {
		signature, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:],
			&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	} else {
		signature, err = rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	}
	require.NoError(t, err)
	return signed + "." + base64URL.EncodeToString(signature)
}

// certified is a valid assertion that a row changes.
type certified struct {
	header, claims map[string]any
	key            *rsa.PrivateKey
}

func newCertified(e *Emulator, c *x509.Certificate) *certified {
	now, id := time.Now().Unix(), e.Applications()[0].ClientID
	return &certified{
		header: map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": base64URL.EncodeToString(x5tS256(c))},
		claims: map[string]any{"aud": e.AuthorityHost + e.TenantID() + "/oauth2/v2.0/token", "iss": id, "sub": id,
			"jti": newGUID(), "nbf": now, "exp": now + 600},
		key: applicationKey(),
	}
}

func TestEntra_issuesATokenForACertificate(t *testing.T) {
	c := newCertificate(t, applicationKey(), nil)
	e := New(&Options{TenantID: "contoso.example", Applications: []Application{{Secrets: []Secret{},
		Certificates: []*x509.Certificate{
			newCertificate(t, otherKey(), nil), c}}}})
	other := newCertificate(t, otherKey(), nil)
	for _, tt := range []struct {
		name   string
		change func(*certified)
	}{
		{"as RFC 7515 has it", func(*certified) {}},
		{"as MSAL Go has it", func(a *certified) {
			a.header["x5t#S256"] = base64.StdEncoding.EncodeToString(x5tS256(c))
		}},
		{"with RS256", func(a *certified) { a.header["alg"] = "RS256" }},
		{"with the old thumbprint", func(a *certified) {
			a.header = map[string]any{"alg": "RS256", "x5t": base64URL.EncodeToString(x5t(c))}
		}},
		{"with the old thumbprint, padded", func(a *certified) {
			a.header = map[string]any{"alg": "PS256", "x5t": base64.StdEncoding.EncodeToString(x5t(c))}
		}},
		{"with its chain", func(a *certified) {
			a.header["x5c"] = []string{base64.StdEncoding.EncodeToString(c.Raw),
				base64.StdEncoding.EncodeToString(other.Raw)}
		}},
		{"with times as strings", func(a *certified) {
			a.claims["nbf"], a.claims["exp"] = fmt.Sprint(a.claims["nbf"]), fmt.Sprint(a.claims["exp"])
		}},
		{"with a time rounded up", func(a *certified) { a.claims["nbf"] = time.Now().Unix() + 1 }},
		{"for the issuer", func(a *certified) { a.claims["aud"] = e.AuthorityHost + "Contoso.Example/v2.0" }},
		{"for one of several", func(a *certified) { a.claims["aud"] = []any{"x", a.claims["aud"]} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newCertified(e, c)
			tt.change(a)
			token := requestToken(t, e, withAssertion(signCertified(t, a.key, a.header, a.claims))...)
			claims, err := VerifyToken(t.Context(), &http.Client{Transport: e}, e.JWKSURL(), token, vault)
			require.NoError(t, err)
			require.Equal(t, e.Applications()[0].ClientID, claims.ClientID)
		})
	}
}

func TestCertificate_isRefused(t *testing.T) {
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c, ec := newCertificate(t, applicationKey(), nil), newCertificate(t, ecKey, nil)
	ended := time.Now().Add(-time.Minute)
	expired := newCertificate(t, applicationKey(), func(c *x509.Certificate) { c.NotAfter = ended })
	other := newCertificate(t, applicationKey(), nil)
	e := New(&Options{Applications: []Application{{Certificates: []*x509.Certificate{c, ec, expired}}}})
	const notRegistered = "The certificate with identifier used to sign the client assertion is not registered on " +
		"application. [Reason - The key "
	thumbprint := func(sum []byte) string { return fmt.Sprintf(" Thumbprint of key used by client: '%X', Please", sum) }
	const wrong = "Client assertion contains an invalid signature. [Reason - The provided signature value did not " +
		"match the expected signature value.]"
	for _, tt := range []struct {
		name   string
		change func(*certified)
		code   int
		text   string // prefix of the description
	}{
		{"another", func(a *certified) { a.header["x5t#S256"] = base64URL.EncodeToString(x5tS256(other)) }, 700027,
			notRegistered + "was not found.," + thumbprint(x5tS256(other))},
		{"another, by the old thumbprint", func(a *certified) {
			delete(a.header, "x5t#S256")
			a.header["x5t"] = base64URL.EncodeToString(x5t(other))
		}, 700027, notRegistered + "was not found.," + thumbprint(x5t(other))},
		{"no thumbprint", func(a *certified) { delete(a.header, "x5t#S256") }, 700027, notRegistered +
			"was not found., Please"},
		{"no base64", func(a *certified) { a.header["x5t#S256"] = "*" }, 700027, notRegistered +
			"was not found., Please"},
		{"hexadecimal", func(a *certified) { a.header["x5t#S256"] = fmt.Sprintf("%X", x5tS256(c)) }, 700027,
			notRegistered + "was not found.,"},
		{"expired", func(a *certified) { a.header["x5t#S256"] = base64URL.EncodeToString(x5tS256(expired)) }, 700027,
			notRegistered + "used is expired.," + thumbprint(x5tS256(expired))},
		{"of another key", func(a *certified) { a.key = otherKey() }, 700027, wrong},
		{"an EC certificate", func(a *certified) { a.header["x5t#S256"] = base64URL.EncodeToString(x5tS256(ec)) },
			700027, wrong},
		{"another algorithm", func(a *certified) { a.header["alg"] = "none" }, 700027, wrong},
		{"another client", func(a *certified) { a.claims["iss"], a.claims["sub"] = "x", "x" }, 700021,
			"Client assertion application identifier doesn't match 'client_id' parameter. "},
		{"no issuer", func(a *certified) { delete(a.claims, "iss") }, 700021, ""},
		{"another subject", func(a *certified) { a.claims["sub"] = "x" }, 50048,
			"Subject must match the issuer claim in the client assertion."},
		{"another tenant", func(a *certified) { a.claims["aud"] = e.AuthorityHost + "x/oauth2/v2.0/token" }, 700023,
			"Client assertion audience claim does not match Realm issuer. "},
		{"another host", func(a *certified) {
			a.claims["aud"] = "https://login.microsoftonline.us/" + e.TenantID() + "/v2.0"
		}, 700023, ""},
		{"another path", func(a *certified) { a.claims["aud"] = a.claims["aud"].(string) + "/x" }, 700023, ""},
		{"no TLS", func(a *certified) {
			a.claims["aud"] = strings.Replace(a.claims["aud"].(string), "https", "http", 1)
		}, 700023, ""},
		{"no audience", func(a *certified) { delete(a.claims, "aud") }, 700023, ""},
		{"no URL as audience", func(a *certified) { a.claims["aud"] = "https://%zz" }, 700023, ""},
		{"not yet valid", func(a *certified) { a.claims["nbf"] = time.Now().Unix() + 60 }, 700024,
			"Client assertion is not within its valid time range. Current time: "},
		{"no longer valid", func(a *certified) { a.claims["exp"] = time.Now().Unix() - 1 }, 700024, ""},
		{"no expiry", func(a *certified) { delete(a.claims, "exp") }, 700024, ""},
		{"a time that is none", func(a *certified) { a.claims["exp"] = "soon" }, 50027,
			"JWT token is invalid or malformed."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newCertified(e, c)
			tt.change(a)
			p, status := refused(t, e, newExchange(t, e, withAssertion(signCertified(t, a.key, a.header, a.claims))...))
			require.Equal(t, []int{tt.code}, p.Codes)
			require.True(t, strings.HasPrefix(p.Description, fmt.Sprintf("AADSTS%d: %s", tt.code, tt.text)),
				p.Description)
			if tt.code != 50027 {
				require.Equal(t, 401, status)
				require.Equal(t, "invalid_client", p.Error)
			}
		})
	}
}

func TestDestination_regionalHostsHaveThePublicAudience(t *testing.T) {
	for _, tt := range []struct {
		host, audience string
		want           bool
	}{
		{"westus2.login.microsoft.com", "https://login.microsoftonline.com/T/oauth2/v2.0/token", true},
		{"westus2.login.microsoft.com", "https://westus2.login.microsoft.com/T/oauth2/v2.0/token", true},
		{"westus2.login.microsoft.com", "https://login.microsoftonline.us/T/oauth2/v2.0/token", false},
		{"login.microsoftonline.us", "https://login.microsoftonline.com/T/oauth2/v2.0/token", false},
		{"127.0.0.1:1", "https://127.0.0.1:1/t/", true},
		{"127.0.0.1:1", "https://127.0.0.1:1/t", true},
		{"127.0.0.1:1", "https://127.0.0.1:1/", false},
		{"127.0.0.1:1", "https://127.0.0.1/t", false},
	} {
		require.Equal(t, tt.want, destination{tt.host, []string{"t"}, false}.accepts(tt.audience), "%s %s", tt.host,
			tt.audience)
	}
}

func TestCertificates_areCopies(t *testing.T) {
	c := newCertificate(t, applicationKey(), nil)
	given := []*x509.Certificate{c}
	e := New(&Options{Applications: []Application{{Certificates: given}}})
	given[0] = nil
	e.Applications()[0].Certificates[0] = nil
	require.Equal(t, []*x509.Certificate{c}, e.Applications()[0].Certificates)
	require.Empty(t, New(nil).Applications()[0].Certificates)
}
