package certs

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/testkit"
)

// chainAndKey are a leaf, the certificate of its authority, and the leaf's key.
func chainAndKey(t *testing.T) ([]*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	certs, key, err := Parse(testkit.Fixture(t, "leaf-chain.pem"), "")
	require.NoError(t, err)
	return certs, key.(*rsa.PrivateKey)
}

// decodePart reads a part of an assertion.
func decodePart(t *testing.T, part string) (fields map[string]any) {
	t.Helper()
	content, err := base64.RawURLEncoding.DecodeString(part)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, &fields))
	return fields
}

func TestNewSigner_refuses(t *testing.T) {
	certs, key := chainAndKey(t)
	forged := &rsa.PrivateKey{PublicKey: key.PublicKey, D: big.NewInt(3), Primes: key.Primes}
	_, edKey, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	const only = "; Entra takes RSA only, so use a certificate with an RSA key"
	for _, row := range []struct {
		name  string
		kind  kind
		certs []*x509.Certificate
		key   crypto.PrivateKey
		want  string
	}{
		{"no certificate", lasting, nil, key, "at least one certificate is required"},
		{"nil certificates", lasting, []*x509.Certificate{nil}, key, "at least one certificate is required"},
		{"no key", lasting, certs, nil, "a private key is required"},
		{"a nil key", lasting, certs, (*rsa.PrivateKey)(nil), "the private key is not a valid RSA key"},
		{"an empty key", lasting, certs, &rsa.PrivateKey{}, "the private key is not a valid RSA key"},
		{"a key with another exponent", lasting, certs, forged, "the private key is not a valid RSA key"},
		{"the public key", lasting, certs, &key.PublicKey, "the private key is of an unknown kind" + only},
		{"an EC key", lasting, certs, ecKey(t), "the private key is an EC key" + only},
		{"an Ed25519 key", lasting, certs, edKey, "the private key is an Ed25519 key" + only},
		{"a pointer to an Ed25519 key", lasting, certs, &edKey, "the private key is an Ed25519 key" + only},
		{"the key of another", unfinished, certs[1:], key, "the private key belongs to none of the certificates"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, err := NewSigner(row.certs, row.key, false, false)
			require.EqualError(t, err, row.want)
			require.Equal(t, row.kind, kindOf(err))
			require.Nil(t, s)
		})
	}
}

func TestNewSigner_namesTheCertificatesInTheHeader(t *testing.T) {
	certs, key := chainAndKey(t)
	long, short := sha256.Sum256(certs[0].Raw), sha1.Sum(certs[0].Raw)
	url := base64.RawURLEncoding.EncodeToString
	std := base64.StdEncoding.EncodeToString
	x5c := []any{std(certs[0].Raw), std(certs[1].Raw)}
	turned := []*x509.Certificate{nil, certs[1], nil, certs[0]}
	for _, row := range []struct {
		name        string
		certs       []*x509.Certificate
		chain, adfs bool
		want        map[string]any
	}{
		{"the thumbprint alone", certs, false, false, map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": url(long[:])}},
		{"the thumbprint of the key's own", turned, false, false,
			map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": url(long[:])}},
		{"the chain", certs, true, false,
			map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": url(long[:]), "x5c": x5c}},
		{"the key's own is first in the chain", turned, true, false,
			map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": url(long[:]), "x5c": x5c}},
		{"a chain of one", certs[:1], true, false,
			map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": url(long[:]), "x5c": x5c[:1]}},
		{"AD FS", certs, false, true, map[string]any{"alg": "RS256", "typ": "JWT", "x5t": url(short[:])}},
		{"AD FS with the chain", certs, true, true, map[string]any{"alg": "RS256", "typ": "JWT", "x5t": url(short[:]), "x5c": x5c}},
	} {
		t.Run(row.name, func(t *testing.T) {
			given := append([]*x509.Certificate(nil), row.certs...)
			s, err := NewSigner(given, key, row.chain, row.adfs)
			require.NoError(t, err)
			require.Equal(t, row.want, decodePart(t, s.Header))
			require.Equal(t, row.certs, given, "the caller's certificates stay as they are")
		})
	}
}

func TestSigner_assertsForTenMinutes(t *testing.T) {
	const audience, clientID = "https://login.example/token", "9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d816"
	certs, key := chainAndKey(t)
	for name, adfs := range map[string]bool{"PS256": false, "RS256": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := NewSigner(certs, key, false, adfs)
				require.NoError(t, err)
				ids := map[any]bool{}
				for range 3 {
					assertion, err := s.Assertion(audience, clientID)
					require.NoError(t, err)
					parts := strings.Split(assertion, ".")
					require.Len(t, parts, 3)
					require.Equal(t, s.Header, parts[0])
					claims := decodePart(t, parts[1])
					require.Regexp(t, "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$", claims["jti"])
					ids[claims["jti"]] = true
					delete(claims, "jti")
					now := float64(time.Now().Unix())
					require.Equal(t, map[string]any{"aud": audience, "iss": clientID, "sub": clientID, "nbf": now, "exp": now + 600}, claims)

					signature, err := base64.RawURLEncoding.DecodeString(parts[2])
					require.NoError(t, err)
					sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
					if adfs {
						require.NoError(t, rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature))
					} else {
						salt := &rsa.PSSOptions{SaltLength: sha256.Size}
						require.NoError(t, rsa.VerifyPSS(&key.PublicKey, crypto.SHA256, sum[:], signature, salt))
					}
				}
				require.Len(t, ids, 3, "each assertion has an ID of its own")
			})
		})
	}
}

// A signature of SHA-256 with a salt of 32 bytes needs more than the 64 bytes of this key.
func TestSigner_saysThatItsKeyIsTooSmall(t *testing.T) {
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: big.NewInt(1), E: 65537}, D: new(big.Int)}
	phi, one := big.NewInt(1), big.NewInt(1)
	for len(key.Primes) < 2 {
		p, err := rand.Prime(rand.Reader, 256)
		require.NoError(t, err)
		rest := new(big.Int).Sub(p, one)
		if new(big.Int).GCD(nil, nil, rest, big.NewInt(65537)).Cmp(one) == 0 {
			key.Primes = append(key.Primes, p)
			key.N.Mul(key.N, p)
			phi.Mul(phi, rest)
		}
	}
	key.D.ModInverse(big.NewInt(65537), phi)
	s, err := NewSigner([]*x509.Certificate{{PublicKey: &key.PublicKey}}, key, false, false)
	require.NoError(t, err)
	assertion, err := s.Assertion("https://login.example/token", "c")
	require.EqualError(t, err, "the private key can't sign an assertion; it needs 2048 bits at least")
	require.Empty(t, assertion)
}
