package testkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// CertificatePassword is that of the files in testdata/certs.
const CertificatePassword = "made-up pässword"

// CertificateFile is the path of one of testdata/certs.
func CertificateFile(name string) string { return filepath.Join(root, "testdata", "certs", name) }

// Fixture is the content of files in testdata/certs.
func Fixture(t testing.TB, names ...string) []byte {
	t.Helper()
	var all []byte
	for _, name := range names {
		content, err := os.ReadFile(CertificateFile(name))
		require.NoError(t, err)
		all = append(all, content...)
	}
	return all
}

// Leaf is the certificate that the files are made of.
func Leaf(t testing.TB) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(Fixture(t, "leaf.pem"))
	c, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return c
}

// Issue makes a certificate for 127.0.0.1, which a nil authority means that it signs itself.
func Issue(t *testing.T, authority *tls.Certificate, change func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "node"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	if change != nil {
		change(c)
	}
	signer, by := key, c
	if authority != nil {
		signer, by = authority.PrivateKey.(*ecdsa.PrivateKey), authority.Leaf
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, signer)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// ThumbprintOf is what IDENTITY_SERVER_THUMBPRINT says of it.
func ThumbprintOf(c *tls.Certificate) string { return fmt.Sprintf("%x", sha1.Sum(c.Leaf.Raw)) }

const encryptedPEM = "its private key is encrypted, which is supported in PKCS #12 only; decrypt it with openssl pkey, or convert the file with openssl pkcs12 -export"

// UnreadableFile is made of the content of files in testdata/certs and of data. Want is what an error says of it.
type UnreadableFile struct {
	Name     string
	Files    []string
	Data     string
	Password string
	Want     string
}

// UnreadableFiles can't be used as a certificate's.
var UnreadableFiles = []UnreadableFile{
	{"nothing", nil, "", "", "it is neither PEM nor PKCS #12, or incomplete"},
	{"something else", nil, "not a certificate", "", "it is neither PEM nor PKCS #12, or incomplete"},
	{"a wrong password", []string{"openssl3.pfx"}, "", "x", "the password is wrong"},
	{"a wrong password, legacy", []string{"legacy.pfx"}, "", "x", "the password is wrong"},
	{"a password where there is none", []string{"no-password.pfx"}, "", "x", "the password is wrong"},
	{"no password", []string{"openssl3.pfx"}, "", "", "it needs a password"},
	{"no password, legacy", []string{"legacy.pfx"}, "", "", "it needs a password"},
	{"a password beyond UCS-2", []string{"openssl3.pfx"}, "", "😀", "it is PKCS #12 that can't be read: string contains characters that cannot be encoded in UCS-2"},
	{"PKCS #12 without a key", []string{"no-key.pfx"}, "", CertificatePassword, "it is PKCS #12 that can't be read: private key missing"},
	{"PEM with an encrypted key", []string{"encrypted-pkcs8.key", "leaf.pem"}, "", CertificatePassword, encryptedPEM},
	{"PEM with a traditionally encrypted key", []string{"leaf.pem", "encrypted-pkcs1.key"}, "", CertificatePassword, encryptedPEM},
	{"PEM without a certificate", []string{"leaf.key"}, "", "", "it has no certificate"},
	{"PEM without a key", []string{"leaf.pem"}, "", "", "it has no private key"},
	{"PEM with two keys", []string{"leaf.key", "leaf-chain.pem"}, "", "", "it has several private keys; keep the certificate's alone"},
	{"PEM with a malformed certificate", []string{"leaf.key"}, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "",
		"a certificate in it is malformed: x509: malformed certificate"},
	{"PEM with a malformed key", []string{"leaf.pem"}, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "", "its private key is malformed"},
	{"PEM with a malformed EC key", []string{"leaf.pem"}, "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", "", "its private key is malformed"},
	{"PEM with a key of SSH", []string{"leaf.pem"}, "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "",
		`its private key has the unknown form "OPENSSH PRIVATE KEY"`},
	{"PEM with a key of a form without end", []string{"leaf.pem"}, "-----BEGIN " + strings.Repeat("A", 5000) + " PRIVATE KEY-----\nAAAA\n-----END " +
		strings.Repeat("A", 5000) + " PRIVATE KEY-----\n", "", `its private key has the unknown form "` + strings.Repeat("A", 400) + `…"`},
	{"PEM of nonsense", nil, "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n", "", "its PEM is malformed or incomplete"},
}
