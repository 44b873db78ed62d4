package managedid

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

// certificateFile is a file with a certificate and its key, which may be replaced while the program runs.
type certificateFile struct {
	path, password string
	chain          bool // is sent
}

// maxCertificateFile is much more than a chain of certificates takes.
const maxCertificateFile = 1 << 20

func certificateFileProof(o *entraConfig, f certificateFile) proof {
	config := *o
	identity := fmt.Sprintf("certificate file %q %t %s", f.path, f.chain, keyedHash(f.password))
	p := certificateProof(identity, func(ctx context.Context, tokenURL string) (string, error) {
		s, err := awaitFile(ctx, func() (*signer, error) { return f.read(&config) })
		if err != nil {
			advice := ""
			if _, wrong := errors.AsType[passwordError](err); wrong {
				advice = "; set AZURE_CLIENT_CERTIFICATE_PASSWORD to the one that it was exported with"
			}
			return "", fmt.Errorf("the certificate file %s, from AZURE_CLIENT_CERTIFICATE_PATH, can't be used: %w%s", shownPath(f.path), err, advice)
		}
		return s.assertion(tokenURL)
	})
	p.file = shownPath(f.path)
	return p
}

func (f *certificateFile) read(o *entraConfig) (*signer, error) {
	content, err := readRegular(f.path, maxCertificateFile)
	if err == nil && len(content) == 0 {
		err = errEmpty
	}
	if err != nil {
		return nil, err
	}
	certs, key, err := parseCertificates(content, f.password)
	if err != nil {
		return nil, err
	}
	return newSigner(o, certs, key, f.chain)
}

// ParseCertificates reads certificates and a private key, for [NewClientCertificateCredential]. The data is PEM, with an
// unencrypted key in PKCS #8, PKCS #1 or SEC 1, or PKCS #12 in DER, also with the algorithms that OpenSSL 3 uses without
// options. Pass nil for the password where there is none; PEM needs none. The certificates are in the data's order.
func ParseCertificates(certData []byte, password []byte) ([]*x509.Certificate, crypto.PrivateKey, error) {
	certs, key, err := parseCertificates(certData, string(password))
	if err != nil {
		return nil, nil, misconfigured("ParseCertificates", err.Error())
	}
	return certs, key, nil
}

func parseCertificates(data []byte, password string) ([]*x509.Certificate, crypto.PrivateKey, error) {
	data = bytes.TrimPrefix(data, bom)
	if block, rest := pem.Decode(data); block != nil {
		return parsePEM(block, rest)
	} else if bytes.Contains(data, beginPEM) {
		return nil, nil, errHalfPEM
	}
	return parsePKCS12(data, password)
}

var beginPEM = []byte("-----BEGIN ")

const errHalfPEM = unfinishedError("its PEM is malformed or incomplete")

// parsePEM reads the blocks that it knows, and passes over others.
func parsePEM(block *pem.Block, rest []byte) (certs []*x509.Certificate, key crypto.PrivateKey, err error) {
	for ; block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, unfinishedError("a certificate in it is malformed: " + quotable(err.Error()))
			}
			certs = append(certs, c)
		case strings.HasSuffix(block.Type, "PRIVATE KEY") && key != nil:
			return nil, nil, errors.New("it has several private keys; keep the certificate's alone")
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			if key, err = parseKey(block); err != nil {
				return nil, nil, err
			}
		}
	}
	switch {
	case bytes.Contains(rest, beginPEM):
		return nil, nil, errHalfPEM
	case len(certs) == 0:
		return nil, nil, unfinishedError("it has no certificate")
	case key == nil:
		return nil, nil, unfinishedError("it has no private key")
	}
	return certs, key, nil
}

// parseKey quotes no error, which might quote the key.
func parseKey(block *pem.Block) (key crypto.PrivateKey, err error) {
	if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") { // RFC 7468 and RFC 1421
		return nil, errors.New("its private key is encrypted, which is supported in PKCS #12 only; decrypt it with openssl pkey, or convert the file with openssl pkcs12 -export")
	}
	switch block.Type {
	case "PRIVATE KEY":
		if key, err = x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes) // so mislabelled by converters of PKCS #12
		}
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("its private key has the unknown form %q", quotable(block.Type))
	}
	if err != nil {
		return nil, unfinishedError("its private key is malformed")
	}
	return key, nil
}

// passwordError says that a password is missing or wrong.
type passwordError string

func (e passwordError) Error() string { return string(e) }

func parsePKCS12(data []byte, password string) ([]*x509.Certificate, crypto.PrivateKey, error) {
	key, leaf, chain, err := pkcs12.DecodeChain(data, password)
	unsupported, known := errors.AsType[pkcs12.NotImplementedError](err)
	switch {
	case err == nil:
		return append([]*x509.Certificate{leaf}, chain...), key, nil
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		if password == "" {
			return nil, nil, passwordError("it needs a password")
		}
		return nil, nil, passwordError("the password is wrong")
	case known:
		return nil, nil, errors.New("it is PKCS #12 that can't be read: " + quotable(string(unsupported)))
	case strings.HasPrefix(err.Error(), "pkcs12: error reading P12 data"):
		return nil, nil, unfinishedError("it is neither PEM nor PKCS #12, or incomplete")
	}
	return nil, nil, unfinishedError("it is PKCS #12 that can't be read: " + quotable(strings.TrimPrefix(err.Error(), "pkcs12: ")))
}
