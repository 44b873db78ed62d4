package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/managedid/managedid/internal/files"
)

// Signer makes assertions with a certificate, by "Microsoft identity platform application authentication certificate
// credentials".
type Signer struct {
	// Header is the encoded header of all its assertions. It names the certificates.
	Header string

	key *rsa.PrivateKey
	pss bool
}

// NewSigner returns a signer. It checks that the key belongs to one of the certificates, because everyone who shares
// the signer's tokens must have the key. chain makes it send the other certificates too. adfs makes assertions for AD
// FS, which have RS256 and a SHA-1 thumbprint instead of PS256.
func NewSigner(certs []*x509.Certificate, key crypto.PrivateKey, chain, adfs bool) (*Signer, error) {
	k, err := rsaKey(key)
	if err != nil {
		return nil, err
	}
	certs = slices.DeleteFunc(slices.Clone(certs), func(c *x509.Certificate) bool { return c == nil })
	if len(certs) == 0 {
		return nil, errors.New("at least one certificate is required")
	}
	i := slices.IndexFunc(certs, func(c *x509.Certificate) bool { return k.PublicKey.Equal(c.PublicKey) })
	if i < 0 {
		return nil, files.Unfinished("the private key belongs to none of the certificates")
	}
	leaf := certs[i]
	sum := sha256.Sum256(leaf.Raw)
	h := assertionHeader{Algorithm: "PS256", Type: "JWT", Thumbprint: base64.RawURLEncoding.EncodeToString(sum[:])}
	if chain {
		for _, c := range append([]*x509.Certificate{leaf}, slices.Delete(certs, i, i+1)...) {
			h.Chain = append(h.Chain, base64.StdEncoding.EncodeToString(c.Raw)) // RFC 7515, section 4.1.6
		}
	}
	if adfs { // "AD FS OpenID Connect/OAuth flows and application scenarios"
		sum := sha1.Sum(leaf.Raw)
		h.Algorithm, h.Thumbprint, h.SHA1 = "RS256", "", base64.RawURLEncoding.EncodeToString(sum[:])
	}
	s := &Signer{key: k, pss: !adfs}
	s.Header, err = jsonPart(h)
	return s, err
}

func rsaKey(key crypto.PrivateKey) (*rsa.PrivateKey, error) {
	kind := "of an unknown kind"
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if k == nil || k.Validate() != nil {
			return nil, errors.New("the private key is not a valid RSA key")
		}
		return k, nil
	case nil:
		return nil, errors.New("a private key is required")
	case *ecdsa.PrivateKey:
		kind = "an EC key"
	case ed25519.PrivateKey, *ed25519.PrivateKey:
		kind = "an Ed25519 key"
	}
	return nil, fmt.Errorf("the private key is %s; Entra takes RSA only, so use a certificate with an RSA key", kind)
}

type assertionHeader struct {
	Algorithm  string   `json:"alg"`
	Type       string   `json:"typ"`
	Thumbprint string   `json:"x5t#S256,omitempty"`
	SHA1       string   `json:"x5t,omitempty"`
	Chain      []string `json:"x5c,omitempty"`
}

type assertionClaims struct {
	Audience  string `json:"aud"`
	Expires   int64  `json:"exp"`
	Issuer    string `json:"iss"`
	ID        string `json:"jti"`
	NotBefore int64  `json:"nbf"`
	Subject   string `json:"sub"`
}

// Assertion returns an assertion that is valid for ten minutes, longer than a flight takes.
func (s *Signer) Assertion(audience, clientID string) (string, error) {
	now := time.Now()
	claims, err := jsonPart(assertionClaims{Audience: audience,
		Expires: now.Add(10 * time.Minute).Unix(), Issuer: clientID,
		ID: newGUID(), NotBefore: now.Unix(), Subject: clientID})
	if err != nil {
		return "", err
	}
	signed := s.Header + "." + claims
	sum := sha256.Sum256([]byte(signed))
	var options crypto.SignerOpts = crypto.SHA256
	if s.pss { // RFC 7518, section 3.5
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	}
	signature, err := s.key.Sign(rand.Reader, sum[:], options)
	if err != nil {
		return "", errors.New("the private key can't sign an assertion; it needs 2048 bits at least")
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func jsonPart(v any) (string, error) {
	b, err := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(b), err
}

// newGUID returns a random GUID (RFC 9562, section 5.4).
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
