package conformance

import (
	"bufio"
	"bytes"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/managedidtest"
)

// tunnel is an HTTP proxy that knows only CONNECT, and leads each tunnel to one address.
type tunnel struct {
	net.Listener
	to  string
	all sync.WaitGroup

	mu    sync.Mutex
	lines []string     // the requests' first lines; guarded by mu
	sent  bytes.Buffer // what clients sent through tunnels; guarded by mu
}

func newTunnel(t *testing.T, to string) *tunnel {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &tunnel{Listener: l, to: to}
	p.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.all.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(p.end)
	return p
}

// end waits for the tunnels, whose clients have to have gone.
func (p *tunnel) end() {
	p.Close()
	p.all.Wait()
}

func (p *tunnel) serve(client net.Conn) {
	defer client.Close()
	r, err := http.ReadRequest(bufio.NewReader(client))
	if err != nil {
		return
	}
	p.mu.Lock()
	p.lines = append(p.lines, r.Method+" "+r.RequestURI)
	p.mu.Unlock()
	server, err := net.Dial("tcp", p.to)
	if err != nil || r.Method != http.MethodConnect {
		return
	}
	defer server.Close()
	_, _ = io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n")
	p.all.Go(func() {
		defer server.Close()
		_, _ = io.Copy(server, io.TeeReader(client, p))
	})
	_, _ = io.Copy(client, server)
}

func (p *tunnel) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent.Write(b)
}

// The child has no other way to the host, whose name is in httptest's certificate and in no DNS.
func TestEntra_goesThroughTheProxyAndNothingInClear(t *testing.T) {
	if os.Getenv("HTTPS_PROXY") == "" {
		em := managedidtest.New(nil)
		entra := httptest.NewTLSServer(em)
		defer entra.Close()
		proxy := newTunnel(t, entra.Listener.Addr().String())
		dir := t.TempDir()
		roots := filepath.Join(dir, "roots.pem")
		writeFile(t, roots, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: entra.Certificate().Raw})))
		file, err := em.NewTokenFile(dir, nil)
		require.NoError(t, err)
		address := "http://" + proxy.Addr().String()
		env := []string{"HTTPS_PROXY=" + address, "https_proxy=" + address, "HTTP_PROXY=" + address, "NO_PROXY=", "no_proxy=", "SSL_CERT_FILE=" + roots}
		variables := em.Environ(managedidtest.EntraSecret, managedidtest.Workload)
		variables["AZURE_AUTHORITY_HOST"] = "https://login.example.com/"
		for name, value := range variables {
			env = append(env, name+"="+value)
		}
		testkit.InChild(t, nil, env...)
		proxy.end()

		require.Equal(t, []string{"CONNECT login.example.com:443", "CONNECT login.example.com:443"}, proxy.lines)
		for _, r := range em.Requests() {
			require.Equal(t, 200, r.Status)
		}
		require.Len(t, em.Requests(), 2)
		assertion, err := os.ReadFile(file.Path)
		require.NoError(t, err)
		for _, secret := range []string{em.Applications()[0].Secrets[0].Value, string(assertion), "client_id", "oauth2"} {
			require.False(t, bytes.Contains(proxy.sent.Bytes(), []byte(secret)))
		}
		require.Equal(t, byte(0x16), proxy.sent.Bytes()[0], "a TLS handshake")
		return
	}
	env, err := managedid.NewEnvironmentCredential(nil)
	require.NoError(t, err)
	require.NoError(t, get(ctx0, env, vault).Err)
	workload, err := managedid.NewWorkloadIdentityCredential(nil)
	require.NoError(t, err)
	require.NoError(t, get(ctx0, workload, vault).Err)
}
