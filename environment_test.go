package managedid

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/managedidtest"
)

func newEnvironment(t testing.TB, o EnvironmentCredentialOptions) *EnvironmentCredential {
	t.Helper()
	c, err := NewEnvironmentCredential(&o)
	require.NoError(t, err)
	return c
}

func usingTransport(f *fakeEntra) EnvironmentCredentialOptions {
	return EnvironmentCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: f}}
}

func TestEnvironment_certificate(t *testing.T) {
	const password = "AZURE_CLIENT_CERTIFICATE_PASSWORD=" + testkit.CertificatePassword
	const send = "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN="
	for _, row := range []struct {
		name, file string
		variables  []string
		chain      int
	}{
		{"PEM", "leaf-chain.pem", nil, 0},
		{"PKCS #12 of OpenSSL 3", "openssl3.pfx", []string{password}, 0},
		{"PKCS #12 of its legacy mode", "legacy.pfx", []string{password}, 0},
		{"the chain, 1", "openssl3.pfx", []string{password, send + "1"}, 2},
		{"the chain, true", "leaf-chain.pem", []string{send + "true"}, 2},
		{"the chain, TRUE", "leaf-chain.pem", []string{send + "TRUE"}, 2},
		{"no chain, 0", "leaf-chain.pem", []string{send + "0"}, 0},
		{"no chain, yes", "leaf-chain.pem", []string{send + "yes"}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			certificateEnvironment(t, testkit.CertificateFile(row.file), row.variables...)
			f := &fakeEntra{}
			require.NoError(t, get(ctx0, newEnvironment(t, usingTransport(f)), vault).Err)
			_, key := chainAndKey(t)
			header, claims := opened(t, f.Forms[0].Get("client_assertion"), &key.PublicKey)
			sum := sha256.Sum256(testkit.Leaf(t).Raw)
			require.Equal(t, base64URL(sum[:]), header["x5t#S256"])
			require.Equal(t, f.Sent[0].URL.String(), claims["aud"])
			chain, _ := header["x5c"].([]any)
			require.Len(t, chain, row.chain)
		})
	}
}

func TestEnvironment_secretBeforeCertificate(t *testing.T) {
	certificateEnvironment(t, "none", "AZURE_CLIENT_SECRET="+someSecret)
	f := &fakeEntra{}
	require.NoError(t, get(ctx0, newEnvironment(t, usingTransport(f)), vault).Err)
	require.True(t, f.Forms[0].Get("client_secret") == someSecret)
}

func TestEnvironment_certificateFileThatCannotBeUsed(t *testing.T) {
	const retried = 3100 * time.Millisecond
	for _, row := range append(testkit.UnreadableFiles, testkit.UnreadableFile{Name: "an EC key", Files: []string{"ec.pfx"}, Password: testkit.CertificatePassword,
		Want: "the private key is an EC key; Entra takes RSA only, so use a certificate with an RSA key"}) {
		t.Run(row.Name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "certificate")
				content := string(testkit.Fixture(t, row.Files...)) + row.Data
				writeFile(t, path, content)
				certificateEnvironment(t, path, "AZURE_CLIENT_CERTIFICATE_PASSWORD="+row.Password)
				f := &fakeEntra{}
				r := get(ctx0, newEnvironment(t, usingTransport(f)), vault)
				want := row.Want
				if content == "" {
					want = "it is empty"
				}
				if strings.Contains(want, "password") && !strings.Contains(want, "PKCS") {
					want += "; set AZURE_CLIENT_CERTIFICATE_PASSWORD to the one that it was exported with"
				}
				requireError(t, r.Err, "EnvironmentCredential: Entra: the certificate file "+path+", from AZURE_CLIENT_CERTIFICATE_PATH, can't be used: "+want)
				require.Equal(t, ReasonConfiguration, asCredentialError(t, r.Err))
				require.Contains(t, []time.Duration{0, retried}, r.Took)
				if strings.Contains(want, "the password is wrong") || strings.Contains(want, "encrypted") || strings.Contains(want, "RSA") {
					require.Zero(t, r.Took, "waiting mends nothing")
				}
				require.Zero(t, f.Count())
			})
		})
	}
}

// A deployment may put the content where the path belongs.
func TestEnvironment_whatIsNoPathIsNotShown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		key := string(testkit.Fixture(t, "leaf.key"))
		for _, content := range []string{key, strings.ReplaceAll(key, "\n", " "), secretToken, strings.Repeat("A", 500)} {
			certificateEnvironment(t, content)
			err := get(ctx0, newEnvironment(t, usingTransport(&fakeEntra{})), vault).Err
			require.ErrorContains(t, err, "the certificate file (not a path, so not shown), from AZURE_CLIENT_CERTIFICATE_PATH, can't be used: ")
			require.NotContains(t, err.Error(), content[len(content)-20:])
		}
	})
}

func TestEnvironment_aFileOfManyMegabytesIsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "certificate")
	writeFile(t, path, strings.Repeat(" ", maxCertificateFile+1))
	certificateEnvironment(t, path)
	require.ErrorContains(t, get(ctx0, newEnvironment(t, usingTransport(&fakeEntra{})), vault).Err, "can't be used: it is larger than 1048576 bytes")
}

func TestEnvironment_certificateFileInTheMiddleOfItsReplacement(t *testing.T) {
	whole := string(testkit.Fixture(t, "leaf-chain.pem"))
	other := string(testkit.Fixture(t, "leaf.key")) + string(testkit.Fixture(t, "ca.pem"))
	for name, part := range map[string]string{"empty": "", "half": whole[:len(whole)/2], "a key without its certificate": string(testkit.Fixture(t, "leaf.key")),
		"the key of another": other} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "certificate")
				writeFile(t, path, part)
				certificateEnvironment(t, path)
				f := &fakeEntra{}
				time.AfterFunc(2*time.Second, func() { writeFile(t, path, whole) })
				r := get(ctx0, newEnvironment(t, usingTransport(f)), vault)
				require.NoError(t, r.Err)
				require.LessOrEqual(t, r.Took, 3100*time.Millisecond)
			})
		})
	}
	t.Run("missing", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "certificate")
			certificateEnvironment(t, path)
			c := newEnvironment(t, usingTransport(&fakeEntra{})) // reads nothing
			time.AfterFunc(2*time.Second, func() { writeFile(t, path, whole) })
			require.NoError(t, get(ctx0, c, vault).Err)
			require.NoError(t, os.Remove(path))
			require.NoError(t, get(ctx0, c, vault).Err, "a hit reads nothing")
		})
	})
}

func TestEnvironment_aReplacedCertificateIsPickedUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		em := managedidtest.New(nil)
		file, err := em.NewCertificateFile(t.TempDir())
		require.NoError(t, err)
		em.Setenv(t, managedidtest.EntraCertificate)
		c := newEnvironment(t, EnvironmentCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}})
		first := get(ctx0, c, vault)
		require.NoError(t, first.Err)
		require.NoError(t, file.Rotate()) // and the old one is no longer registered
		require.True(t, first.Token.Token == get(ctx0, c, vault).Token.Token)
		time.Sleep(time.Hour)
		second := get(ctx0, c, vault)
		require.NoError(t, second.Err)
		require.False(t, first.Token.Token == second.Token.Token)
		require.Len(t, em.Requests(), 2)
		for _, r := range em.Requests() {
			require.Equal(t, 200, r.Status)
		}
	})
}

// What is shared has the same path, password and chain.
func TestEnvironment_certificateFilesAreIdentities(t *testing.T) {
	f, cache := &fakeEntra{}, NewTokenCache(nil)
	path := testkit.CertificateFile("openssl3.pfx")
	absolute, err := filepath.Abs(path)
	require.NoError(t, err)
	for _, row := range []struct {
		path, password, chain string
		sent                  int
		err                   string
	}{
		{path, testkit.CertificatePassword, "", 1, ""},
		{absolute, testkit.CertificatePassword, "0", 1, ""},
		{path, "wrong", "", 1, "the password is wrong"},
		{path, testkit.CertificatePassword, "1", 2, ""},
		{testkit.CertificateFile("legacy.pfx"), testkit.CertificatePassword, "1", 3, ""},
	} {
		certificateEnvironment(t, row.path, "AZURE_CLIENT_CERTIFICATE_PASSWORD="+row.password, "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN="+row.chain)
		c := newEnvironment(t, EnvironmentCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: f}, Cache: cache})
		err := get(ctx0, c, vault).Err
		if row.err != "" {
			require.ErrorContains(t, err, row.err)
		} else {
			require.NoError(t, err)
		}
		require.Equal(t, row.sent, f.Count())
	}
}

func TestEnvironment_aCallerWhoseContextEndsDoesNotWaitForTheCertificate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		certificateEnvironment(t, filepath.Join(t.TempDir(), "none"))
		ctx, cancel := context.WithTimeout(ctx0, time.Second)
		defer cancel()
		r := get(ctx, newEnvironment(t, usingTransport(&fakeEntra{})), vault)
		require.ErrorContains(t, r.Err, "no token before the caller's context ended")
		require.Equal(t, time.Second, r.Took)
	})
}
