package conformance

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/managedidtest"
)

// The child has no other way to the token proxy, whose host is in no DNS and in no certificate.
func TestTokenProxy_isBehindTheEnvironmentsProxy(t *testing.T) {
	if os.Getenv("HTTPS_PROXY") == "" {
		s := managedidtest.NewServer(nil)
		defer s.Close()
		p, err := s.NewTokenProxy(t.TempDir())
		require.NoError(t, err)
		proxy := newTunnel(t, p.URL[len("https://"):])
		address := "http://" + proxy.Addr().String()
		env := []string{"HTTPS_PROXY=" + address, "https_proxy=" + address, "NO_PROXY=", "no_proxy="}
		variables := s.Environ(managedidtest.IdentityBinding)
		variables["AZURE_KUBERNETES_TOKEN_PROXY"] = "https://kubernetes.default.svc"
		for name, value := range variables {
			env = append(env, name+"="+value)
		}
		testkit.InChild(t, nil, env...)
		proxy.end()

		require.Equal(t, []string{"CONNECT kubernetes.default.svc:443"}, proxy.lines)
		require.Len(t, s.Requests(), 1)
		require.Equal(t, 200, s.Requests()[0].Status)
		require.False(t, bytes.Contains(proxy.sent.Bytes(), []byte("client_assertion")))
		require.Equal(t, byte(0x16), proxy.sent.Bytes()[0], "a TLS handshake")
		return
	}
	c, err := managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{EnableAzureProxy: true})
	require.NoError(t, err)
	require.NoError(t, get(ctx0, c, vault).Err)
}
