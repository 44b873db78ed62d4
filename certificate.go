package managedid

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid/internal/certs"
	"github.com/managedid/managedid/internal/files"
	"github.com/managedid/managedid/internal/text"
)

// ClientCertificateCredentialOptions are the options of NewClientCertificateCredential.
type ClientCertificateCredentialOptions struct {
	// ClientOptions configures the pipeline, as in ClientSecretCredentialOptions.
	azcore.ClientOptions
	// AdditionallyAllowedTenants are the tenants that a request may name besides the credential's own. "*" allows every
	// tenant. Zero means none.
	AdditionallyAllowedTenants []string
	// Cache holds the tokens. Nil means the cache of the process, or a private cache if ClientOptions has a Transport,
	// policies or retry options.
	Cache *TokenCache
	// DisableInstanceDiscovery has no effect.
	//
	// Deprecated: this package never requests instance discovery. The field exists so that code for azidentity
	// compiles.
	DisableInstanceDiscovery bool
	// Logger gets a record of each token, each failed request and each pause, but never a secret. The package
	// documentation lists the records under Logging. Nil means no records.
	Logger *slog.Logger
	// SendCertificateChain sends all the certificates with each request, which authentication by subject name and
	// issuer needs. Zero sends only the thumbprint of the key's certificate.
	SendCertificateChain bool
}

// ClientCertificateCredential gets tokens for an application with a certificate. Its GetToken takes the same arguments
// as that of [ClientSecretCredential]. A ClientCertificateCredential is safe for concurrent use.
type ClientCertificateCredential struct {
	*credential
}

var _ azcore.TokenCredential = (*ClientCertificateCredential)(nil)

// GetToken returns a valid token from the cache, or else requests a new one. It takes one or more scopes of one
// resource, of the form RESOURCE/.default. Its error is an *AuthenticationFailedError, or a *CredentialUnavailableError
// if a chain may go on to its next link.
func (c *ClientCertificateCredential) GetToken(
	ctx context.Context, opts policy.TokenRequestOptions,
) (azcore.AccessToken, error) {
	if c.credential == nil {
		return azcore.AccessToken{}, notMade(nameClientCertificate)
	}
	return c.credential.GetToken(ctx, opts)
}

// Format prints only the name of the type, whatever the verb. The rest is secret, or changes while the credential is in
// use.
func (ClientCertificateCredential) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, nameClientCertificate)
}

func (c *ClientCertificateCredential) self() azcore.TokenCredential { return c }

// NewClientCertificateCredential returns a credential for an application. The key must be an *rsa.PrivateKey, and certs
// must contain its certificate; see [ParseCertificates]. The other certificates are the chain, in order, and are sent
// only with SendCertificateChain. Nil options mean defaults. It sends nothing, and fails if an argument or an option is
// invalid.
func NewClientCertificateCredential(
	tenantID, clientID string, certs []*x509.Certificate, key crypto.PrivateKey,
	options *ClientCertificateCredentialOptions,
) (*ClientCertificateCredential, error) {
	var o ClientCertificateCredentialOptions
	if options != nil {
		o = *options
	}
	config := entraConfig{options: o.ClientOptions, tenantID: tenantID, clientID: clientID,
		allowed: o.AdditionallyAllowedTenants, cache: o.Cache, logger: o.Logger}
	s, err := config.signer(certs, key, o.SendCertificateChain)
	if err != nil {
		return nil, misconfigured(nameClientCertificate, err.Error())
	}
	c, err := newEntraCredential(nameClientCertificate, config, certificateProof("certificate "+keyedHash(s.Header),
		func(_ context.Context, tokenURL string) (string, error) { return s.Assertion(tokenURL, clientID) }))
	if err != nil {
		return nil, err
	}
	return &ClientCertificateCredential{c}, nil
}

// signer checks that the certificate can be used in this tenant, and returns its signer. chain sends the whole chain.
func (o *entraConfig) signer(given []*x509.Certificate, key crypto.PrivateKey, chain bool) (*certs.Signer, error) {
	return certs.NewSigner(given, key, chain, strings.EqualFold(o.tenantID, tenantADFS))
}

// certificateProof returns the proof by an assertion that is signed anew for each request.
func certificateProof(identity string, read func(context.Context, string) (string, error)) proof {
	return proof{key: identity, parameter: assertionParameter, signed: true, read: read,
		age: func() string { return ": it was made for this request, so set the clock of this machine right" }}
}

// certificateFile is a file with a certificate and its key. Another program may replace it while this one runs.
type certificateFile struct {
	path, password string
	chain          bool // the whole chain is sent
}

// maxCertificateFile is the largest size of a file in bytes, far more than a chain of certificates needs.
const maxCertificateFile = 1 << 20

func certificateFileProof(o *entraConfig, f certificateFile) proof {
	config := *o
	identity := fmt.Sprintf("certificate file %q %t %s", f.path, f.chain, keyedHash(f.password))
	p := certificateProof(identity, func(ctx context.Context, tokenURL string) (string, error) {
		s, err := files.Await(ctx, func() (*certs.Signer, error) { return f.read(&config) })
		if err != nil {
			advice := ""
			if _, wrong := asType[certs.PasswordError](err); wrong {
				advice = "; set AZURE_CLIENT_CERTIFICATE_PASSWORD to the one that it was exported with"
			}
			return "", fmt.Errorf("the certificate file %s, from AZURE_CLIENT_CERTIFICATE_PATH, can't be used: %w%s",
				text.Path(f.path), err, advice)
		}
		return s.Assertion(tokenURL, o.clientID)
	})
	p.file = text.Path(f.path)
	return p
}

func (f *certificateFile) read(o *entraConfig) (*certs.Signer, error) {
	content, err := files.Read(f.path, maxCertificateFile)
	if err == nil && len(content) == 0 {
		err = files.ErrEmpty
	}
	if err != nil {
		return nil, err
	}
	parsed, key, err := certs.Parse(content, f.password)
	if err != nil {
		return nil, err
	}
	return o.signer(parsed, key, f.chain)
}

// ParseCertificates reads certificates and a private key for [NewClientCertificateCredential]. The data is PEM with an
// unencrypted key in PKCS #8, PKCS #1 or SEC 1, or it is PKCS #12 in DER, also with the algorithms that OpenSSL 3 uses
// by default. A nil password means none, and PEM ignores it. The certificates are in the order of the data. The error
// is an *AuthenticationFailedError.
func ParseCertificates(certData []byte, password []byte) ([]*x509.Certificate, crypto.PrivateKey, error) {
	parsed, key, err := certs.Parse(certData, string(password))
	if err != nil {
		return nil, nil, misconfigured("ParseCertificates", err.Error())
	}
	return parsed, key, nil
}
