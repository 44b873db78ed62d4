package managedid

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/managedidtest"
)

// chainAndKey are a leaf, the certificate of its authority, and the leaf's key.
func chainAndKey(t testing.TB) ([]*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	certs, key, err := ParseCertificates(testkit.Fixture(t, "leaf-chain.pem"), nil)
	require.NoError(t, err)
	return certs, key.(*rsa.PrivateKey)
}

func newCertificate(t testing.TB, transport policy.Transporter, tenant string, o ClientCertificateCredentialOptions) *ClientCertificateCredential {
	t.Helper()
	blankEnvironment(t)
	certs, key := chainAndKey(t)
	o.Transport = transport
	c, err := NewClientCertificateCredential(tenant, someClient, certs, key, &o)
	require.NoError(t, err)
	return c
}

func base64URL(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// opened returns what an assertion says, once its signature has been verified.
func opened(t testing.TB, assertion string, key *rsa.PublicKey) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(assertion, ".")
	require.Len(t, parts, 3)
	for i, v := range []*map[string]any{&header, &claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, v))
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	require.NoError(t, err)
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if header["alg"] == "PS256" {
		require.NoError(t, rsa.VerifyPSS(key, crypto.SHA256, sum[:], signature, &rsa.PSSOptions{SaltLength: sha256.Size}))
	} else {
		require.NoError(t, rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature))
	}
	return header, claims
}

func TestCertificate_request(t *testing.T) {
	certs, key := chainAndKey(t)
	long, short := sha256.Sum256(certs[0].Raw), sha1.Sum(certs[0].Raw)
	chain := []any{base64.StdEncoding.EncodeToString(certs[0].Raw), base64.StdEncoding.EncodeToString(certs[1].Raw)}
	ps256 := map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": base64URL(long[:])}
	for _, row := range []struct {
		name   string
		tenant string
		chain  bool
		asked  string // the request's tenant
		url    string
		header map[string]any
	}{
		{"the thumbprint alone", someTenant, false, "", "https://login.microsoftonline.com/" + someTenant + "/oauth2/v2.0/token", ps256},
		{"another tenant", someTenant, false, "fabrikam", "https://login.microsoftonline.com/fabrikam/oauth2/v2.0/token", ps256},
		{"with the chain", someTenant, true, "", "https://login.microsoftonline.com/" + someTenant + "/oauth2/v2.0/token",
			map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": base64URL(long[:]), "x5c": chain}},
		{"AD FS", "ADFS", false, "", "https://login.microsoftonline.com/ADFS/oauth2/token",
			map[string]any{"alg": "RS256", "typ": "JWT", "x5t": base64URL(short[:])}},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := &fakeEntra{}
				c := newCertificate(t, f, row.tenant, ClientCertificateCredentialOptions{SendCertificateChain: row.chain, AdditionallyAllowedTenants: []string{"*"}})
				_, err := c.GetToken(ctx0, policy.TokenRequestOptions{Scopes: []string{vault}, TenantID: row.asked})
				require.NoError(t, err)
				require.Equal(t, row.url, f.Sent[0].URL.String())
				header, claims := opened(t, f.Forms[0].Get("client_assertion"), &key.PublicKey)
				require.Equal(t, row.header, header)
				require.Regexp(t, "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$", claims["jti"])
				delete(claims, "jti")
				now := float64(f.Began.Unix())
				require.Equal(t, map[string]any{"aud": row.url, "iss": someClient, "sub": someClient, "nbf": now, "exp": now + 600}, claims)
				f.Forms[0].Del("client_assertion")
				require.Equal(t, url.Values{
					"grant_type": {"client_credentials"}, "client_id": {someClient}, "scope": {vault},
					"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
				}, f.Forms[0])
			})
		})
	}
}

func TestCertificate_eachExchangeHasAnAssertionOfItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, key := chainAndKey(t)
		f := &fakeEntra{}
		c := newCertificate(t, f, someTenant, ClientCertificateCredentialOptions{})
		ids := map[any]bool{}
		for i := range 3 {
			require.NoError(t, get(ctx0, c, vault).Err)
			require.NoError(t, get(ctx0, c, vault).Err)
			_, claims := opened(t, f.Forms[i].Get("client_assertion"), &key.PublicKey)
			require.EqualValues(t, time.Now().Unix(), claims["nbf"])
			ids[claims["jti"]] = true
			time.Sleep(time.Hour)
		}
		require.Len(t, ids, 3)
		require.Equal(t, 3, f.Count())
	})
}

func TestCertificate_theKeysOwnIsFirstWhereverItWas(t *testing.T) {
	certs, key := chainAndKey(t)
	given := []*x509.Certificate{nil, certs[1], certs[0], nil}
	f := &fakeEntra{}
	c, err := NewClientCertificateCredential(someTenant, someClient, given, key,
		&ClientCertificateCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: f}, SendCertificateChain: true})
	require.NoError(t, err)
	require.Equal(t, []*x509.Certificate{nil, certs[1], certs[0], nil}, given, "what was given stays")
	require.NoError(t, get(ctx0, c, vault).Err)
	header, _ := opened(t, f.Forms[0].Get("client_assertion"), &key.PublicKey)
	require.Equal(t, []any{base64.StdEncoding.EncodeToString(certs[0].Raw), base64.StdEncoding.EncodeToString(certs[1].Raw)}, header["x5c"])
}

func TestCertificate_constructorRefusesWhatCannotWork(t *testing.T) {
	blankEnvironment(t)
	certs, key := chainAndKey(t)
	forged := &rsa.PrivateKey{PublicKey: key.PublicKey, D: big.NewInt(3), Primes: key.Primes}
	_, edKey, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	const only = "; Entra takes RSA only, so use a certificate with an RSA key"
	for _, row := range []struct {
		name   string
		tenant string
		client string
		certs  []*x509.Certificate
		key    crypto.PrivateKey
		want   string
	}{
		{"no certificate", "t", "c", nil, key, "at least one certificate is required"},
		{"nil certificates", "t", "c", []*x509.Certificate{nil}, key, "at least one certificate is required"},
		{"no key", "t", "c", certs, nil, "a private key is required"},
		{"a nil key", "t", "c", certs, (*rsa.PrivateKey)(nil), "the private key is not a valid RSA key"},
		{"an empty key", "t", "c", certs, &rsa.PrivateKey{}, "the private key is not a valid RSA key"},
		{"a public key with another exponent", "t", "c", certs, forged, "the private key is not a valid RSA key"},
		{"the public key", "t", "c", certs, &key.PublicKey, "the private key is of an unknown kind" + only},
		{"an EC key", "t", "c", certs, ecKey(t), "the private key is an EC key" + only},
		{"an Ed25519 key", "t", "c", certs, edKey, "the private key is an Ed25519 key" + only},
		{"the key of another", "t", "c", certs[1:], key, "the private key belongs to none of the certificates"},
		{"no tenant", "", "c", certs, key, "the tenant ID, from the options or AZURE_TENANT_ID, is not valid: it has at most 253 letters, digits, dots and hyphens only"},
		{"no client", "t", "", certs, key, "the client ID is empty"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := NewClientCertificateCredential(row.tenant, row.client, row.certs, row.key, nil)
			requireError(t, err, "ClientCertificateCredential: "+row.want)
			require.Nil(t, c)
		})
	}
}

func TestCertificate_errorsByTheirCode(t *testing.T) {
	for _, row := range []struct {
		code   int
		advice string
	}{
		{700027, "the certificate is not registered for the application, or has expired; register its public part under Certificates & secrets, " +
			"or correct AZURE_CLIENT_CERTIFICATE_PATH or the certificate in the code"},
		{700024, "the assertion is outside its validity: it was made for this request, so set the clock of this machine right"},
		{700023, "what proves the application's identity was refused"},
	} {
		f := &fakeEntra{Script: func(_ int, r *http.Request) (*http.Response, error) {
			return respond(r, 401, entraError(row.code, "invalid_client", "What it says.")), nil
		}}
		err := get(ctx0, newCertificate(t, f, someTenant, ClientCertificateCredentialOptions{}), vault).Err
		requireError(t, err, fmt.Sprintf("ClientCertificateCredential: Entra: %s (401 Unauthorized, invalid_client: AADSTS%d: What it says.)", row.advice, row.code))
		require.Equal(t, ReasonRejectedCredential, asCredentialError(t, err))
		require.Equal(t, 1, f.Count(), "another assertion would be no better")
	}
}

// The name in a cache is what proves the identity, and not where it came from.
func TestCertificate_sharesItsTokensWithTheSame(t *testing.T) {
	certs, key := chainAndKey(t)
	again, sameKey := chainAndKey(t)
	self, otherKey := otherCertificate(t)
	f, cache := &fakeEntra{}, NewTokenCache(nil)
	for _, row := range []struct {
		name  string
		certs []*x509.Certificate
		key   *rsa.PrivateKey
		chain bool
		sent  int
	}{
		{"the first", certs, key, false, 1},
		{"the same", again, sameKey, false, 1},
		{"the same without its chain", certs[:1], key, false, 1},
		{"the same with its chain", certs, key, true, 2},
		{"another", self, otherKey, false, 3},
	} {
		c, err := NewClientCertificateCredential(someTenant, someClient, row.certs, row.key,
			&ClientCertificateCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: f}, Cache: cache, SendCertificateChain: row.chain})
		require.NoError(t, err)
		require.NoError(t, get(ctx0, c, vault).Err)
		require.Equal(t, row.sent, f.Count(), row.name)
	}
}

// otherCertificate is another of no chain.
func otherCertificate(t testing.TB) ([]*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	file, err := managedidtest.New(nil).NewCertificateFile(t.TempDir())
	require.NoError(t, err)
	content, err := os.ReadFile(file.Path)
	require.NoError(t, err)
	certs, key, err := ParseCertificates(content, nil)
	require.NoError(t, err)
	return certs, key.(*rsa.PrivateKey)
}

func TestCertificate_isTakenByTheEmulator(t *testing.T) {
	certs, key := chainAndKey(t)
	for _, registered := range [][]*x509.Certificate{certs[:1], certs[1:]} {
		em := managedidtest.New(&managedidtest.Options{Applications: []managedidtest.Application{{Certificates: registered}}})
		c, err := NewClientCertificateCredential(em.TenantID(), em.Applications()[0].ClientID, certs, key,
			&ClientCertificateCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}})
		require.NoError(t, err)
		err = get(ctx0, c, vault).Err
		if registered[0] == certs[0] {
			require.NoError(t, err)
			continue
		}
		require.Equal(t, ReasonRejectedCredential, asCredentialError(t, err))
		require.Contains(t, err.Error(), "AADSTS700027: The certificate with identifier used to sign the client assertion is not registered on application.")
	}
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode(testkit.Fixture(t, "ec.key"))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	return key.(*ecdsa.PrivateKey)
}

// internal/certs has the table of all forms.
func TestParseCertificates_inTheOrderOfTheData(t *testing.T) {
	for name, password := range map[string]string{"leaf-chain.pem": "", "openssl3.pfx": testkit.CertificatePassword} {
		certs, key, err := ParseCertificates(testkit.Fixture(t, name), []byte(password))
		require.NoError(t, err, name)
		require.Len(t, certs, 2, name)
		require.True(t, certs[0].Equal(testkit.Leaf(t)), name)
		require.Equal(t, "managedid-test-ca", certs[1].Subject.CommonName, name)
		require.True(t, key.(*rsa.PrivateKey).PublicKey.Equal(certs[0].PublicKey), name)
	}
}

func TestParseCertificates_saysWhatIsWrong(t *testing.T) {
	for _, row := range testkit.UnreadableFiles {
		t.Run(row.Name, func(t *testing.T) {
			certs, key, err := ParseCertificates(append(testkit.Fixture(t, row.Files...), row.Data...), []byte(row.Password))
			requireError(t, err, "ParseCertificates: "+row.Want)
			require.Nil(t, certs)
			require.Nil(t, key)
		})
	}
}
