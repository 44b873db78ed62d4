package interop

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// A container is made, a blob uploaded and downloaded, with one token.
func TestJavaScript_blob(t *testing.T) {
	javascript(t)
	s := managedidtest.NewServer(options())
	t.Cleanup(s.Close)
	url := azurite(t, s) + "/devstoreaccount1/container"
	checkService(t, s, "https://storage.azure.com", "hello from a blob", "blob", url, "hello from a blob")
}

// A secret is read, set and read again, with one token, which the vault verifies.
func TestJavaScript_secret(t *testing.T) {
	javascript(t)
	s := managedidtest.NewServer(options())
	t.Cleanup(s.Close)
	url := s.NewKeyVault(map[string]string{"greeting": "hello"}).URL
	checkService(t, s, vault, "hello again", "secret", url, "greeting")
}

// checkService has the library's default chain find a user-assigned identity for a service.
func checkService(t *testing.T, s *managedidtest.Server, resource, want string, use ...string) {
	t.Helper()
	args := append([]string{"DefaultAzureCredential", `{"managedIdentityClientId":"` + user.ClientID + `"}`}, use...)
	got := node(t, nodeEnviron(t, s, managedidtest.IMDS), args...)
	require.Empty(t, got.Error)
	require.True(t, got.Value == want)
	log := sentFor(s, resource)
	require.Len(t, log, 1)
	require.Equal(t, user.ClientID, log[0].Identity)
	require.Equal(t, javascriptIMDS.request, log[0].Method+" "+log[0].Path)
}

// azurite starts Microsoft's emulator of storage, which checks tokens but for their signature, and returns its address.
func azurite(t *testing.T, s *managedidtest.Server) string {
	t.Helper()
	program, err := filepath.Abs("npm/node_modules/azurite/dist/src/blob/main.js")
	require.NoError(t, err)
	cert, key := certificate(t, s, "https://storage.azure.com")
	// The client's x-ms-version may be newer than any that Azurite knows, hence skipApiVersionCheck.
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	cmd := exec.CommandContext(ctx, "node", program, "--blobHost", "127.0.0.1", "--blobPort", "0", "--oauth", "basic", "--cert", cert, "--key", key,
		"--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck")
	cmd.Dir = t.TempDir()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = cmd.Stdout
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		stop()
		cmd.Wait()
	})
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, address, found := strings.Cut(lines.Text(), "successfully listens on "); found {
			go io.Copy(io.Discard, out) // its log
			return address
		}
		said.WriteString(lines.Text() + "\n")
	}
	require.Fail(t, "Azurite ended", "%s", &said)
	return ""
}

// certificate writes one that the server's authority issued for an audience's host and loopback, and its key: those of an API.
func certificate(t *testing.T, s *managedidtest.Server, audience string) (certFile, keyFile string) {
	t.Helper()
	c := s.NewResource(audience, nil).TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return file
	}
	return write("cert.pem", "CERTIFICATE", c.Certificate[0]), write("key.pem", "PRIVATE KEY", key)
}
