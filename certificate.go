package managedid

import (
	"context"
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
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const nameClientCertificate = "ClientCertificateCredential"

// ClientCertificateCredentialOptions are the options of NewClientCertificateCredential.
type ClientCertificateCredentialOptions struct {
	// ClientOptions configures the pipeline; see ClientSecretCredentialOptions.
	azcore.ClientOptions
	// AdditionallyAllowedTenants are tenants, besides the credential's own, whose tokens a request may name; "*" means
	// all. Zero means none.
	AdditionallyAllowedTenants []string
	// Cache holds the tokens. Nil means the cache of the process, or a private one where ClientOptions has a
	// Transport, policies or retry options.
	Cache *TokenCache
	// DisableInstanceDiscovery has no effect, since no discovery is ever requested; azidentity's code compiles.
	DisableInstanceDiscovery bool
	// Logger gets a record of each token, failed request and pause, never a secret; see the package's Logging. Nil means none.
	Logger *slog.Logger
	// SendCertificateChain sends all the certificates with each request, as authentication by subject name and issuer
	// needs it. Zero means that only the thumbprint of the key's certificate is sent.
	SendCertificateChain bool
}

// ClientCertificateCredential gets tokens for an application with a certificate. GetToken is that of
// [ClientSecretCredential]. It is safe for concurrent use.
type ClientCertificateCredential struct {
	*credential
}

var _ azcore.TokenCredential = (*ClientCertificateCredential)(nil)

// NewClientCertificateCredential makes a credential for an application. The key has to be an *rsa.PrivateKey, and certs
// to contain its certificate; see [ParseCertificates]. The others are that one's chain, in order, and are sent with
// SendCertificateChain only. Pass nil for default options. It sends nothing, and fails where an argument or an option
// can't work.
func NewClientCertificateCredential(tenantID, clientID string, certs []*x509.Certificate, key crypto.PrivateKey, options *ClientCertificateCredentialOptions) (*ClientCertificateCredential, error) {
	var o ClientCertificateCredentialOptions
	if options != nil {
		o = *options
	}
	config := entraConfig{options: o.ClientOptions, tenantID: tenantID, clientID: clientID, allowed: o.AdditionallyAllowedTenants,
		cache: o.Cache, logger: o.Logger}
	s, err := newSigner(&config, certs, key, o.SendCertificateChain)
	if err != nil {
		return nil, misconfigured(nameClientCertificate, err.Error())
	}
	c, err := newEntraCredential(nameClientCertificate, config, certificateProof("certificate "+keyedHash(s.header),
		func(_ context.Context, tokenURL string) (string, error) { return s.assertion(tokenURL) }))
	if err != nil {
		return nil, err
	}
	return &ClientCertificateCredential{c}, nil
}

// certificateProof is an assertion that is made for each request.
func certificateProof(identity string, read func(context.Context, string) (string, error)) proof {
	return proof{identity: identity, parameter: assertionParameter, signed: true, read: read,
		age: func() string { return ": it was made for this request, so set the clock of this machine right" }}
}

// signer makes assertions with a certificate, as "Microsoft identity platform application authentication certificate
// credentials" has them.
type signer struct {
	key      *rsa.PrivateKey
	clientID string
	header   string // encoded
	pss      bool
}

// newSigner checks that the key is of use and belongs to one of the certificates: those who share its tokens have the key.
func newSigner(o *entraConfig, certs []*x509.Certificate, key crypto.PrivateKey, chain bool) (*signer, error) {
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
		return nil, unfinishedError("the private key belongs to none of the certificates")
	}
	leaf := certs[i]
	sum := sha256.Sum256(leaf.Raw)
	h := assertionHeader{Algorithm: "PS256", Type: "JWT", Thumbprint: base64.RawURLEncoding.EncodeToString(sum[:])}
	if chain {
		for _, c := range append([]*x509.Certificate{leaf}, slices.Delete(certs, i, i+1)...) {
			h.Chain = append(h.Chain, base64.StdEncoding.EncodeToString(c.Raw)) // RFC 7515, section 4.1.6
		}
	}
	pss := !strings.EqualFold(o.tenantID, tenantADFS)
	if !pss { // "AD FS OpenID Connect/OAuth flows and application scenarios"
		sum := sha1.Sum(leaf.Raw)
		h.Algorithm, h.Thumbprint, h.SHA1 = "RS256", "", base64.RawURLEncoding.EncodeToString(sum[:])
	}
	s := &signer{key: k, clientID: o.clientID, pss: pss}
	s.header, err = jsonPart(h)
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

// assertion makes one that holds for ten minutes, which is more than a flight lasts.
func (s *signer) assertion(tokenURL string) (string, error) {
	now := time.Now()
	claims, err := jsonPart(assertionClaims{Audience: tokenURL, Expires: now.Add(10 * time.Minute).Unix(), Issuer: s.clientID,
		ID: newGUID(), NotBefore: now.Unix(), Subject: s.clientID})
	if err != nil {
		return "", err
	}
	signed := s.header + "." + claims
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

// newGUID makes a random one: RFC 9562, section 5.4.
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
