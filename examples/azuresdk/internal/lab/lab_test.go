package lab

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func newLab(t *testing.T) *Lab {
	t.Helper()
	l, err := Start(nil)
	skipWhereMissing(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

// through is a client as an example's process has it, with the lab's proxy and roots.
func through(t *testing.T, l *Lab) *http.Client {
	t.Helper()
	proxy, err := url.Parse(l.proxy.url)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(l.rootsFile())
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(pem))
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestLab_leadsHostNamesToLoopback(t *testing.T) {
	l := newLab(t)
	cert, key, err := l.Certificate("service.example")
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{Handler: http.NotFoundHandler()}
	go srv.ServeTLS(listener, cert, key)
	defer srv.Close()
	l.Route("service.example", listener.Addr().String())
	client := through(t, l)
	for _, address := range []string{"https://service.example/", "https://SERVICE.example/", "https://login.microsoftonline.com/"} {
		resp, err := client.Get(address)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, 404, resp.StatusCode)
	}
	for _, address := range []string{"https://other.example/", "http://service.example/"} {
		resp, err := client.Get(address)
		if err == nil {
			resp.Body.Close()
			require.Equal(t, 403, resp.StatusCode)
		} else {
			require.ErrorContains(t, err, "The lab knows no such host")
		}
	}
}

func TestLab_environ(t *testing.T) {
	t.Setenv("AZURE_CLIENT_SECRET", "of the machine")
	t.Setenv("NO_PROXY", "*")
	t.Setenv("SERVICE_URL", "old")
	l := newLab(t)
	l.Setenv("SERVICE_URL", "https://service.example")
	env := "\n" + strings.Join(l.Environ(), "\n") + "\n"
	require.Contains(t, env, "\nAZURE_POD_IDENTITY_AUTHORITY_HOST="+l.Emulator.URL+"\n")
	require.Contains(t, env, "\nSERVICE_URL=https://service.example\n")
	require.Contains(t, env, "\nPATH=")
	for _, absent := range []string{"AZURE_CLIENT_SECRET", "NO_PROXY", "=old"} {
		require.False(t, strings.Contains(env, absent), absent)
	}
}

func TestLab_run(t *testing.T) {
	l := newLab(t)
	started := filepath.Join(l.Dir(), "started")
	ready := func() error { _, err := os.Stat(started); return err }
	require.NoError(t, l.Run(ready, "sh", "-c", "trap 'exit 0' INT; touch started; while :; do sleep 0.01; done"))
	err := l.Run(func() error { return errors.New("not yet") }, "sh", "-c", "echo the port is taken; exit 3")
	require.ErrorContains(t, err, "sh ended (exit status 3): the port is taken")
	require.ErrorContains(t, l.Run(ready, filepath.Join(l.Dir(), "none")), "no such file")
	dir := l.Dir()
	require.NoError(t, l.Close())
	_, err = os.Stat(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
}
