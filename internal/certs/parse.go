package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/managedid/managedid/internal/files"
	"github.com/managedid/managedid/internal/text"
)

// Parse reads certificates and a private key from PEM or PKCS #12. The certificates are in the order of the data. Its
// errors quote nothing of the key or the password. An error that an incomplete file may cause is a [files.Unfinished].
func Parse(data []byte, password string) ([]*x509.Certificate, crypto.PrivateKey, error) {
	data = text.WithoutBOM(data)
	if block, rest := pem.Decode(data); block != nil {
		return parsePEM(block, rest)
	} else if bytes.Contains(data, beginPEM) {
		return nil, nil, errHalfPEM
	}
	return parsePKCS12(data, password)
}

var beginPEM = []byte("-----BEGIN ")

const errHalfPEM = files.Unfinished("its PEM is malformed or incomplete")

// parsePEM reads certificates and keys, and ignores other blocks.
func parsePEM(block *pem.Block, rest []byte) (certs []*x509.Certificate, key crypto.PrivateKey, err error) {
	for ; block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, files.Unfinished("a certificate in it is malformed: " + text.Quote(err.Error()))
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
		return nil, nil, files.Unfinished("it has no certificate")
	case key == nil:
		return nil, nil, files.Unfinished("it has no private key")
	}
	return certs, key, nil
}

// parseKey reads a private key. It doesn't quote the parser's error, which might quote the key.
func parseKey(block *pem.Block) (key crypto.PrivateKey, err error) {
	// RFC 7468 and RFC 1421
	if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, errors.New("its private key is encrypted, which is supported in PKCS #12 only; decrypt it with " +
			"openssl pkey, or convert the file with openssl pkcs12 -export")
	}
	switch block.Type {
	case "PRIVATE KEY":
		if key, err = x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes) // some converters of PKCS #12 use the wrong label
		}
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("its private key has the unknown form %q", text.Quote(block.Type))
	}
	if err != nil {
		return nil, files.Unfinished("its private key is malformed")
	}
	return key, nil
}

// PasswordError says that a password is missing or wrong.
type PasswordError string

func (e PasswordError) Error() string { return string(e) }

func parsePKCS12(data []byte, password string) ([]*x509.Certificate, crypto.PrivateKey, error) {
	key, leaf, chain, err := pkcs12.DecodeChain(data, password)
	var unsupported pkcs12.NotImplementedError
	switch {
	case err == nil:
		return append([]*x509.Certificate{leaf}, chain...), key, nil
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		if password == "" {
			return nil, nil, PasswordError("it needs a password")
		}
		return nil, nil, PasswordError("the password is wrong")
	case errors.As(err, &unsupported):
		return nil, nil, errors.New("it is PKCS #12 that can't be read: " + text.Quote(string(unsupported)))
	case strings.HasPrefix(err.Error(), "pkcs12: error reading P12 data"):
		return nil, nil, files.Unfinished("it is neither PEM nor PKCS #12, or incomplete")
	}
	return nil, nil, files.Unfinished("it is PKCS #12 that can't be read: " +
		text.Quote(strings.TrimPrefix(err.Error(), "pkcs12: ")))
}
