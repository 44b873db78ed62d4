package testkit

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// BlankEnvironment hides whatever identity the machine of the tests has.
func BlankEnvironment(tb testing.TB) {
	tb.Helper()
	for name := range managedidtest.New(nil).Environ() {
		tb.Setenv(name, "")
	}
	tb.Setenv("KUBERNETES_SERVICE_HOST", "")
}

// Setenv sets variables given as NAME=value.
func Setenv(tb testing.TB, variables ...string) {
	tb.Helper()
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		tb.Setenv(name, value)
	}
}

// AppServiceEnvironment is that of an app, with nothing else in it.
func AppServiceEnvironment(tb testing.TB) {
	tb.Helper()
	BlankEnvironment(tb)
	Setenv(tb, "IDENTITY_ENDPOINT=http://localhost:42356/msi/token", "IDENTITY_HEADER="+SomeHeader)
}

// ServiceFabricEnvironment is that of a node, with nothing else in it.
func ServiceFabricEnvironment(tb testing.TB) {
	tb.Helper()
	BlankEnvironment(tb)
	Setenv(tb, "IDENTITY_ENDPOINT=https://localhost:2377/metadata/identity/oauth2/token", "IDENTITY_HEADER="+SomeHeader, "IDENTITY_SERVER_THUMBPRINT="+SomeThumbprint)
}

// CertificateEnvironment is that of an application with a certificate file.
func CertificateEnvironment(tb testing.TB, path string, more ...string) {
	tb.Helper()
	BlankEnvironment(tb)
	Setenv(tb, append(more, "AZURE_TENANT_ID="+SomeTenant, "AZURE_CLIENT_ID="+SomeClient, "AZURE_CLIENT_CERTIFICATE_PATH="+path)...)
}

// NewTool puts a program that plays az or azd on the PATH, alone there. It notes its arguments, a line for each call, in
// the file that is returned.
func NewTool(t testing.TB, program, script string) (calls func() []string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the program that plays az is a shell script")
	}
	dir := t.TempDir()
	noted := filepath.Join(dir, "calls")
	WriteFile(t, filepath.Join(dir, program), "#!/bin/sh\nIFS='|'; echo \"$*\" >> "+noted+"\n"+script)
	require.NoError(t, os.Chmod(filepath.Join(dir, program), 0o700))
	BlankEnvironment(t)
	t.Setenv("PATH", dir)
	return func() []string {
		b, _ := os.ReadFile(noted)
		return strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })
	}
}

// AzSays is the script of an az with a token.
func AzSays(expires time.Time) string {
	return fmt.Sprintf(`echo '{"accessToken":"%s","expiresOn":"x","expires_on":%d,"tenant":"t","tokenType":"Bearer"}'`, SecretToken, expires.Unix())
}

// AzdSays is that of an azd.
func AzdSays(expires time.Time) string {
	return fmt.Sprintf(`echo '{"token":"%s","expiresOn":"%s"}'`, SecretToken, expires.UTC().Format("2006-01-02T15:04:05Z"))
}

// SecondOfArc makes the agent of Azure Arc answer so to the key: the fault in front of it lets the challenge pass.
func SecondOfArc(em *managedidtest.Emulator, status int, body string) {
	em.Inject(managedidtest.Fault{Endpoint: managedidtest.Arc, Count: 1})
	em.Inject(managedidtest.Fault{Endpoint: managedidtest.Arc, Count: 1, Status: status, Body: body})
}
