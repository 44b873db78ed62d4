package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/files"
	"github.com/managedid/managedid/internal/testkit"
)

func TestParse_forms(t *testing.T) {
	pkcs1, _ := pem.Decode(testkit.Fixture(t, "pkcs1.key"))
	pkcs1.Type = "PRIVATE KEY"
	attributes := []byte("Bag Attributes\n    localKeyID: 01\n")
	for _, row := range []struct {
		name     string
		data     []byte
		password string
		certs    int
	}{
		{"PKCS #12 of OpenSSL 3", testkit.Fixture(t, "openssl3.pfx"), testkit.CertificatePassword, 2},
		{"PKCS #12 of OpenSSL 3's legacy mode", testkit.Fixture(t, "legacy.pfx"), testkit.CertificatePassword, 2},
		{"PKCS #12 without a password", testkit.Fixture(t, "no-password.pfx"), "", 1},
		{"PEM", testkit.Fixture(t, "leaf-chain.pem"), "", 2},
		{"PEM with the key last", testkit.Fixture(t, "leaf.pem", "leaf.key"), "", 1},
		{"PEM with a key in PKCS #1", testkit.Fixture(t, "pkcs1.key", "leaf.pem"), "", 1},
		{"PEM with a key in PKCS #1 that is called PKCS #8", append(pem.EncodeToMemory(pkcs1), testkit.Fixture(t, "leaf.pem")...), "", 1},
		{"PEM with a password that it doesn't need", testkit.Fixture(t, "leaf-chain.pem"), "x", 2},
		{"PEM of Windows, with a mark of its byte order", append([]byte("\xef\xbb\xbf"), bytes.ReplaceAll(testkit.Fixture(t, "leaf-chain.pem"), []byte("\n"), []byte("\r\n"))...), "", 2},
		{"PEM with attributes", append(append(attributes, testkit.Fixture(t, "leaf.key")...), append(attributes, testkit.Fixture(t, "leaf.pem")...)...), "", 1},
		{"PEM with something else", append(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL"}), testkit.Fixture(t, "leaf-chain.pem")...), "", 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			certs, key, err := Parse(row.data, row.password)
			require.NoError(t, err)
			require.Len(t, certs, row.certs)
			require.True(t, certs[0].Equal(testkit.Leaf(t)))
			require.True(t, key.(*rsa.PrivateKey).PublicKey.Equal(certs[0].PublicKey))
			if row.certs == 2 {
				require.Equal(t, "managedid-test-ca", certs[1].Subject.CommonName)
			}
			_, err = NewSigner(certs, key, false, false)
			require.NoError(t, err)
		})
	}
}

func TestParse_readsECKeysToo(t *testing.T) {
	sec1, err := x509.MarshalECPrivateKey(ecKey(t))
	require.NoError(t, err)
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{5, 0}})
	old := append(parameters, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})...)
	for name, data := range map[string][]byte{
		"PEM":       testkit.Fixture(t, "ec.key", "ec.pem"),
		"SEC 1":     append(old, testkit.Fixture(t, "ec.pem")...),
		"PKCS #12":  testkit.Fixture(t, "ec.pfx"),
		"two certs": testkit.Fixture(t, "ec.key", "leaf.pem", "ec.pem"),
	} {
		_, key, err := Parse(data, testkit.CertificatePassword)
		require.NoError(t, err, name)
		require.True(t, ecKey(t).Equal(key), name)
	}
}

// Before v0.7.3, go-pkcs12 panicked: so go.mod asks for that version.
func TestParse_aShortInitialVectorIsAnError(t *testing.T) {
	var file struct {
		Version  int
		AuthSafe asn1.RawValue
	}
	_, err := asn1.Unmarshal(testkit.Fixture(t, "no-password.pfx"), &file)
	require.NoError(t, err)
	data, err := asn1.Marshal(file) // without what signs it, which nobody needs who gives no password
	require.NoError(t, err)
	aes256CBC := []byte{6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 0x2a, 4, 16}
	at := bytes.Index(data, aes256CBC)
	require.Positive(t, at)
	at += len(aes256CBC)
	data[at-1] -= 2
	copy(data[at+14:], []byte{5, 0}) // NULL, in the place of the last two bytes
	_, _, err = Parse(data, "")
	require.ErrorContains(t, err, "it is PKCS #12 that can't be read: invalid IV length")
}

func TestParse_anotherVersionOfPKCS12WillNotPass(t *testing.T) {
	var file struct {
		Version           int
		AuthSafe, MacData asn1.RawValue
	}
	_, err := asn1.Unmarshal(testkit.Fixture(t, "openssl3.pfx"), &file)
	require.NoError(t, err)
	file.Version = 4
	data, err := asn1.Marshal(file)
	require.NoError(t, err)
	_, _, err = Parse(data, testkit.CertificatePassword)
	require.ErrorContains(t, err, "it is PKCS #12 that can't be read: ")
	require.Equal(t, lasting, kindOf(err))
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode(testkit.Fixture(t, "ec.key"))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	return key.(*ecdsa.PrivateKey)
}

const encryptedPEM = "its private key is encrypted, which is supported in PKCS #12 only; decrypt it with openssl pkey, or convert the file with openssl pkcs12 -export"

// kind is what an error says of a later try.
type kind string

const (
	unfinished kind = "it may succeed, since the file may be being written"
	ofPassword kind = "it needs another password"
	lasting    kind = "it fails too"
)

func kindOf(err error) kind {
	var half files.Unfinished
	var wrong PasswordError
	switch {
	case errors.As(err, &half):
		return unfinished
	case errors.As(err, &wrong):
		return ofPassword
	}
	return lasting
}

func TestParse_saysWhatIsWrongAndWhetherItMayPass(t *testing.T) {
	for _, row := range []struct {
		name     string
		kind     kind
		files    []string
		data     string
		password string
		want     string
	}{
		{"nothing", unfinished, nil, "", "", "it is neither PEM nor PKCS #12, or incomplete"},
		{"something else", unfinished, nil, "not a certificate", "", "it is neither PEM nor PKCS #12, or incomplete"},
		{"a wrong password", ofPassword, []string{"openssl3.pfx"}, "", "x", "the password is wrong"},
		{"a wrong password, legacy", ofPassword, []string{"legacy.pfx"}, "", "x", "the password is wrong"},
		{"a password where there is none", ofPassword, []string{"no-password.pfx"}, "", "x", "the password is wrong"},
		{"no password", ofPassword, []string{"openssl3.pfx"}, "", "", "it needs a password"},
		{"no password, legacy", ofPassword, []string{"legacy.pfx"}, "", "", "it needs a password"},
		{"a password beyond UCS-2", unfinished, []string{"openssl3.pfx"}, "", "😀", "it is PKCS #12 that can't be read: string contains characters that cannot be encoded in UCS-2"},
		{"PKCS #12 without a key", unfinished, []string{"no-key.pfx"}, "", testkit.CertificatePassword, "it is PKCS #12 that can't be read: private key missing"},
		{"PEM with an encrypted key", lasting, []string{"encrypted-pkcs8.key", "leaf.pem"}, "", testkit.CertificatePassword, encryptedPEM},
		{"PEM with a traditionally encrypted key", lasting, []string{"leaf.pem", "encrypted-pkcs1.key"}, "", testkit.CertificatePassword, encryptedPEM},
		{"PEM without a certificate", unfinished, []string{"leaf.key"}, "", "", "it has no certificate"},
		{"PEM without a key", unfinished, []string{"leaf.pem"}, "", "", "it has no private key"},
		{"PEM with two keys", lasting, []string{"leaf.key", "leaf-chain.pem"}, "", "", "it has several private keys; keep the certificate's alone"},
		{"PEM with a malformed certificate", unfinished, []string{"leaf.key"}, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "",
			"a certificate in it is malformed: x509: malformed certificate"},
		{"PEM with a malformed key", unfinished, []string{"leaf.pem"}, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "", "its private key is malformed"},
		{"PEM with a malformed EC key", unfinished, []string{"leaf.pem"}, "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", "", "its private key is malformed"},
		{"PEM with a key of SSH", lasting, []string{"leaf.pem"}, "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "",
			`its private key has the unknown form "OPENSSH PRIVATE KEY"`},
		{"PEM with a key of a form without end", lasting, []string{"leaf.pem"}, "-----BEGIN " + strings.Repeat("A", 5000) + " PRIVATE KEY-----\nAAAA\n-----END " +
			strings.Repeat("A", 5000) + " PRIVATE KEY-----\n", "", `its private key has the unknown form "` + strings.Repeat("A", 400) + `…"`},
		{"PEM of nonsense", unfinished, nil, "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n", "", "its PEM is malformed or incomplete"},
	} {
		t.Run(row.name, func(t *testing.T) {
			certs, key, err := Parse(append(testkit.Fixture(t, row.files...), row.data...), row.password)
			require.EqualError(t, err, row.want)
			require.Equal(t, row.kind, kindOf(err))
			require.Nil(t, certs)
			require.Nil(t, key)
		})
	}
}

// What is cut off anywhere may be complete a moment later.
func TestParse_knowsHalfAFile(t *testing.T) {
	for _, name := range []string{"leaf-chain.pem", "openssl3.pfx", "legacy.pfx"} {
		whole := bytes.TrimSuffix(testkit.Fixture(t, name), []byte("\n"))
		for n := 1; n < len(whole); n += 7 {
			_, _, err := Parse(whole[:n], testkit.CertificatePassword)
			if err == nil { // what comes after the key and a first certificate was not begun
				require.Equal(t, 2, strings.Count(string(whole[:n]), "-----END "), n)
				continue
			}
			require.Equal(t, unfinished, kindOf(err), "%s, %d bytes: %v", name, n, err)
		}
	}
}

// FuzzParse: whatever is in a file becomes certificates and a key that can be written again, or an error of one line
// that quotes nothing. No PKCS #12 is among the seeds: it says itself how long its key takes to derive.
func FuzzParse(f *testing.F) {
	for _, names := range [][]string{{"leaf-chain.pem"}, {"ec.key", "ec.pem", "ca.pem"}, {"ec.pem"}, {"leaf.pem", "ec.key"}, {"encrypted-pkcs8.key"}} {
		f.Add(testkit.Fixture(f, names...))
	}
	f.Add([]byte("-----BEGIN NEW PRIVATE KEY-----\nAAAA\n-----END NEW PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		certs, key, err := Parse(data, "")
		require.Equal(t, err == nil, len(certs) > 0 && key != nil)
		if err != nil {
			testkit.RequireLine(t, err.Error(), slices.DeleteFunc(strings.Split(string(data), "\n"), func(line string) bool {
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
		again, key2, err := Parse(formatted, "")
		require.NoError(t, err)
		require.Equal(t, certs, again)
		require.True(t, key.(interface{ Equal(crypto.PrivateKey) bool }).Equal(key2))
	})
}
