package managedid

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// certificatePassword is that of the files in testdata/certs.
const certificatePassword = "made-up pässword"

func fixture(t testing.TB, names ...string) []byte {
	t.Helper()
	var all []byte
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join("testdata", "certs", name))
		require.NoError(t, err)
		all = append(all, content...)
	}
	return all
}

// leaf is the certificate that the files are made of.
func leaf(t testing.TB) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(fixture(t, "leaf.pem"))
	c, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return c
}

func TestParseCertificates_forms(t *testing.T) {
	pkcs1, _ := pem.Decode(fixture(t, "pkcs1.key"))
	pkcs1.Type = "PRIVATE KEY"
	attributes := []byte("Bag Attributes\n    localKeyID: 01\n")
	for _, row := range []struct {
		name     string
		data     []byte
		password string
		certs    int
	}{
		{"PKCS #12 of OpenSSL 3", fixture(t, "openssl3.pfx"), certificatePassword, 2},
		{"PKCS #12 of OpenSSL 3's legacy mode", fixture(t, "legacy.pfx"), certificatePassword, 2},
		{"PKCS #12 without a password", fixture(t, "no-password.pfx"), "", 1},
		{"PEM", fixture(t, "leaf-chain.pem"), "", 2},
		{"PEM with the key last", fixture(t, "leaf.pem", "leaf.key"), "", 1},
		{"PEM with a key in PKCS #1", fixture(t, "pkcs1.key", "leaf.pem"), "", 1},
		{"PEM with a key in PKCS #1 that is called PKCS #8", append(pem.EncodeToMemory(pkcs1), fixture(t, "leaf.pem")...), "", 1},
		{"PEM with a password that it doesn't need", fixture(t, "leaf-chain.pem"), "x", 2},
		{"PEM of Windows, with a mark of its byte order", append(bom, bytes.ReplaceAll(fixture(t, "leaf-chain.pem"), []byte("\n"), []byte("\r\n"))...), "", 2},
		{"PEM with attributes", append(append(attributes, fixture(t, "leaf.key")...), append(attributes, fixture(t, "leaf.pem")...)...), "", 1},
		{"PEM with something else", append(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL"}), fixture(t, "leaf-chain.pem")...), "", 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			certs, key, err := ParseCertificates(row.data, []byte(row.password))
			require.NoError(t, err)
			require.Len(t, certs, row.certs)
			require.True(t, certs[0].Equal(leaf(t)))
			require.True(t, key.(*rsa.PrivateKey).PublicKey.Equal(certs[0].PublicKey))
			if row.certs == 2 {
				require.Equal(t, "managedid-test-ca", certs[1].Subject.CommonName)
			}
			_, err = NewClientCertificateCredential("t", "c", certs, key, nil)
			require.NoError(t, err)
		})
	}
}

func TestParseCertificates_readsECKeysToo(t *testing.T) {
	sec1, err := x509.MarshalECPrivateKey(ecKey(t))
	require.NoError(t, err)
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{5, 0}})
	old := append(parameters, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})...)
	for name, data := range map[string][]byte{
		"PEM":       fixture(t, "ec.key", "ec.pem"),
		"SEC 1":     append(old, fixture(t, "ec.pem")...),
		"PKCS #12":  fixture(t, "ec.pfx"),
		"two certs": fixture(t, "ec.key", "leaf.pem", "ec.pem"),
	} {
		certs, key, err := ParseCertificates(data, []byte(certificatePassword))
		require.NoError(t, err, name)
		require.True(t, ecKey(t).Equal(key))
		_, err = NewClientCertificateCredential("t", "c", certs, key, nil)
		requireError(t, err, "ClientCertificateCredential: the private key is an EC key; Entra takes RSA only, so use a certificate with an RSA key")
	}
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode(fixture(t, "ec.key"))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	return key.(*ecdsa.PrivateKey)
}

const encryptedPEM = "its private key is encrypted, which is supported in PKCS #12 only; decrypt it with openssl pkey, or convert the file with openssl pkcs12 -export"

var unreadable = []struct {
	name     string
	files    []string
	data     string
	password string
	want     string
}{
	{"nothing", nil, "", "", "it is neither PEM nor PKCS #12, or incomplete"},
	{"something else", nil, "not a certificate", "", "it is neither PEM nor PKCS #12, or incomplete"},
	{"a wrong password", []string{"openssl3.pfx"}, "", "x", "the password is wrong"},
	{"a wrong password, legacy", []string{"legacy.pfx"}, "", "x", "the password is wrong"},
	{"a password where there is none", []string{"no-password.pfx"}, "", "x", "the password is wrong"},
	{"no password", []string{"openssl3.pfx"}, "", "", "it needs a password"},
	{"no password, legacy", []string{"legacy.pfx"}, "", "", "it needs a password"},
	{"a password beyond UCS-2", []string{"openssl3.pfx"}, "", "😀", "it is PKCS #12 that can't be read: string contains characters that cannot be encoded in UCS-2"},
	{"PKCS #12 without a key", []string{"no-key.pfx"}, "", certificatePassword, "it is PKCS #12 that can't be read: private key missing"},
	{"PEM with an encrypted key", []string{"encrypted-pkcs8.key", "leaf.pem"}, "", certificatePassword, encryptedPEM},
	{"PEM with a traditionally encrypted key", []string{"leaf.pem", "encrypted-pkcs1.key"}, "", certificatePassword, encryptedPEM},
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

func TestParseCertificates_saysWhatIsWrong(t *testing.T) {
	for _, row := range unreadable {
		t.Run(row.name, func(t *testing.T) {
			certs, key, err := ParseCertificates(append(fixture(t, row.files...), row.data...), []byte(row.password))
			requireError(t, err, "ParseCertificates: "+row.want)
			require.Nil(t, certs)
			require.Nil(t, key)
		})
	}
}

// What is cut off anywhere may be complete a moment later.
func TestParseCertificates_knowsHalfAFile(t *testing.T) {
	for _, name := range []string{"leaf-chain.pem", "openssl3.pfx", "legacy.pfx"} {
		whole := bytes.TrimSuffix(fixture(t, name), []byte("\n"))
		for n := 1; n < len(whole); n += 7 {
			_, _, err := parseCertificates(whole[:n], certificatePassword)
			if err == nil { // what comes after the key and a first certificate was not begun
				require.Equal(t, 2, strings.Count(string(whole[:n]), "-----END "), n)
				continue
			}
			_, unfinished := errors.AsType[unfinishedError](err)
			require.True(t, unfinished, "%s, %d bytes: %v", name, n, err)
		}
	}
}

// No PKCS #12 is among the seeds: it says itself how long its key takes to derive.
func FuzzParseCertificates(f *testing.F) {
	for _, names := range [][]string{{"leaf-chain.pem"}, {"ec.key", "ec.pem", "ca.pem"}, {"ec.pem"}, {"leaf.pem", "ec.key"}, {"encrypted-pkcs8.key"}} {
		f.Add(fixture(f, names...))
	}
	f.Add([]byte("-----BEGIN NEW PRIVATE KEY-----\nAAAA\n-----END NEW PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		certs, key, err := ParseCertificates(data, nil)
		require.Equal(t, err == nil, len(certs) > 0 && key != nil)
		if err != nil {
			requireLine(t, err.Error(), slices.DeleteFunc(strings.Split(string(data), "\n"), func(line string) bool {
				return strings.HasPrefix(line, "-----") // a form that is unknown is named
			})...)
			return
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		formatted := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		for _, c := range certs {
			formatted = append(formatted, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
		}
		again, key2, err := ParseCertificates(formatted, nil)
		require.NoError(t, err)
		require.Equal(t, certs, again)
		require.True(t, key.(interface{ Equal(crypto.PrivateKey) bool }).Equal(key2))
	})
}
