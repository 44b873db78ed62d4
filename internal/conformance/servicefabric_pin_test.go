package conformance

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/managedidtest"
)

const (
	wrongPin = "ManagedIdentityCredential: Service Fabric: the certificate of what answers is not the one that IDENTITY_SERVER_THUMBPRINT names, " +
		"so the secret was not sent; restart this program if the cluster has renewed it, else find out what listens at IDENTITY_ENDPOINT"
)

// trusting is a client that takes the certificates of an authority, as a caller may have one.
func trusting(authority *tls.Certificate) *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(authority.Leaf)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

// node serves a handler with a certificate at the address that the environment then names, until the test ends.
func node(t *testing.T, config *tls.Config, h http.Handler) *httptest.Server {
	t.Helper()
	checkGoroutines(t)
	s := httptest.NewUnstartedServer(h)
	s.TLS, s.EnableHTTP2 = config, true
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that the client ends
	s.StartTLS()
	t.Cleanup(s.Close)
	setenv(t, "IDENTITY_ENDPOINT="+s.URL+"/metadata/identity/oauth2/token")
	return s
}

// wiretap keeps all that arrives on the connections of a listener, encrypted as it is, and what a TLS server makes of it.
type wiretap struct {
	net.Listener
	done chan struct{}

	// To be read when done is closed.
	raw, plain           bytes.Buffer
	accepted, handshakes int // the second: that were completed
}

func tap(t *testing.T, config *tls.Config) *wiretap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wiretap{Listener: l, done: make(chan struct{})}
	t.Cleanup(func() { w.Close() })
	setenv(t, "IDENTITY_ENDPOINT=https://"+l.Addr().String()+"/metadata/identity/oauth2/token")
	go func() {
		defer close(w.done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			w.accepted++
			secure := tls.Server(tee{conn, &w.raw}, config)
			if secure.Handshake() == nil {
				w.handshakes++
			}
			first := make([]byte, 1<<10)
			n, _ := secure.Read(first)
			w.plain.Write(first[:n])
			conn.Close()
		}
	}()
	return w
}

type tee struct {
	net.Conn
	to io.Writer
}

func (c tee) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	_, _ = c.to.Write(b[:n])
	return n, err
}

func TestVector15_nothingIsSentToAnotherLeaf(t *testing.T) {
	authority := issue(t, nil, nil)
	pinned, other := issue(t, authority, nil), issue(t, authority, nil)
	chain := &tls.Certificate{Certificate: [][]byte{other.Certificate[0], pinned.Certificate[0]}, PrivateKey: other.PrivateKey}
	careless := trusting(authority)
	careless.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	always := policy.RetryOptions{RetryDelay: time.Nanosecond, ShouldRetry: func(*http.Response, error) bool { return true }}
	for _, row := range []struct {
		name    string
		leaf    *tls.Certificate
		version uint16
		options azcore.ClientOptions
	}{
		{"TLS 1.3", other, tls.VersionTLS13, azcore.ClientOptions{}},
		{"TLS 1.2", other, tls.VersionTLS12, azcore.ClientOptions{}},
		{"the pinned certificate behind the leaf", chain, 0, azcore.ClientOptions{}},
		{"a caller's client that trusts it", other, 0, azcore.ClientOptions{Transport: trusting(authority)}},
		{"a caller's client that trusts all", other, 0, azcore.ClientOptions{Transport: careless}},
		{"a caller who tries again", other, 0, azcore.ClientOptions{Retry: always}},
	} {
		t.Run(row.name, func(t *testing.T) {
			serviceFabricEnvironment(t)
			setenv(t, "IDENTITY_SERVER_THUMBPRINT="+thumbprintOf(pinned))
			w := tap(t, &tls.Config{Certificates: []tls.Certificate{*row.leaf}, MaxVersion: row.version})
			c := newDefault(t, managedid.DefaultAzureCredentialOptions{ClientOptions: row.options, Cache: managedid.NewTokenCache(nil)})
			chain, err := managedid.NewChainedTokenCredential([]azcore.TokenCredential{c, foreign(func(context.Context) (string, error) { return "another's", nil })}, nil)
			require.NoError(t, err)
			err = get(ctx0, chain, vault).Err
			requireError(t, err, wrongPin)
			require.Equal(t, managedid.ReasonRejectedCredential, asCredentialError(t, err))
			require.IsType(t, &managedid.AuthenticationFailedError{}, err)
			w.Close()
			<-w.done
			require.Equal(t, 1, w.accepted, "it is definite: not tried again")
			require.NotZero(t, w.raw.Len())
			require.Zero(t, w.handshakes)
			require.Zero(t, w.plain.Len(), "no byte follows the handshake")
			require.False(t, strings.Contains(w.raw.String(), someHeader))
		})
	}
}

func TestVector15_theEmulatorsLogShowsNothing(t *testing.T) {
	s := newServer(t, managedidtest.ServiceFabric, nil)
	other := issue(t, nil, nil)
	node(t, &tls.Config{Certificates: []tls.Certificate{*other}}, s) // the same handler at another address
	var o managedid.ManagedIdentityCredentialOptions
	for _, client := range []policy.Transporter{nil, &http.Client{}, trusting(other), (*http.Client)(nil)} {
		o.Transport, o.Cache = client, managedid.NewTokenCache(nil)
		c := credentialWith(t, &o)
		requireError(t, get(ctx0, c, vault).Err, wrongPin)
	}
	require.Empty(t, s.Requests())
	setenv(t, "IDENTITY_SERVER_THUMBPRINT="+thumbprintOf(other))
	require.NoError(t, get(ctx0, credentialWith(t, &o), vault).Err, "a pin is part of what names the identity in a cache")
	require.Len(t, s.Requests(), 1)
}

func TestVector16_thePinDecidesWhoeverSignedTheLeaf(t *testing.T) {
	authority := issue(t, nil, nil)
	for name, leaf := range map[string]*tls.Certificate{
		"signed by itself":        issue(t, nil, nil),
		"by an unknown authority": issue(t, authority, nil),
		"for another host":        issue(t, authority, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"other.example"} }),
		"expired":                 issue(t, authority, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		"not valid yet":           issue(t, authority, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }),
		"for clients only": issue(t, authority, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}),
	} {
		for _, client := range []policy.Transporter{nil, &http.Client{}, trusting(issue(t, nil, nil))} {
			t.Run(fmt.Sprintf("%s, %T", name, client), func(t *testing.T) {
				em := managedidtest.New(nil)
				em.Setenv(t, managedidtest.ServiceFabric)
				setenv(t, "IDENTITY_SERVER_THUMBPRINT="+thumbprintOf(leaf))
				node(t, &tls.Config{Certificates: []tls.Certificate{*leaf}}, em)
				c := credentialWith(t, &managedid.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: client}, Cache: managedid.NewTokenCache(nil)})
				require.NoError(t, get(ctx0, c, vault).Err)
				require.Equal(t, em.SystemAssigned().ClientID, em.Requests()[0].Identity)
			})
		}
	}
}

func TestServiceFabric_refusesATransportThatCannotBePinned(t *testing.T) {
	dial := func(context.Context, string, string) (net.Conn, error) { return nil, errRefused }
	checked := func(c *tls.Config) *http.Client { return &http.Client{Transport: &http.Transport{TLSClientConfig: c}} }
	for _, row := range []struct {
		name      string
		transport policy.Transporter
		want      string
	}{
		{"another Transporter", transportFunc(nil), "ClientOptions.Transport is not an *http.Client"},
		{"another RoundTripper", &http.Client{Transport: roundTripFunc(nil)}, "the Transport of the *http.Client is not an *http.Transport"},
		{"a nil *http.Transport", &http.Client{Transport: (*http.Transport)(nil)}, "the Transport of the *http.Client is not an *http.Transport"},
		{"DialTLSContext", &http.Client{Transport: &http.Transport{DialTLSContext: dial}}, "the *http.Transport has a DialTLS or DialTLSContext"},
		//lint:ignore SA1019 users may still set it
		{"DialTLS", &http.Client{Transport: &http.Transport{DialTLS: func(string, string) (net.Conn, error) { return nil, errRefused }}},
			"the *http.Transport has a DialTLS or DialTLSContext"},
		{"VerifyPeerCertificate", checked(&tls.Config{VerifyPeerCertificate: func([][]byte, [][]*x509.Certificate) error { return nil }}),
			"the *http.Transport's TLSClientConfig has a VerifyPeerCertificate or VerifyConnection"},
		{"VerifyConnection", checked(&tls.Config{VerifyConnection: func(tls.ConnectionState) error { return nil }}),
			"the *http.Transport's TLSClientConfig has a VerifyPeerCertificate or VerifyConnection"},
	} {
		t.Run(row.name, func(t *testing.T) {
			serviceFabricEnvironment(t)
			c, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: row.transport}})
			requireError(t, err, "ManagedIdentityCredential: Service Fabric: "+row.want+testkit.UnpinnedAdvice)
			require.Nil(t, c)
		})
	}
	t.Run("a default of another kind", func(t *testing.T) {
		serviceFabricEnvironment(t)
		before := http.DefaultTransport
		defer func() { http.DefaultTransport = before }()
		http.DefaultTransport = roundTripFunc(nil)
		_, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: &http.Client{}}})
		require.ErrorContains(t, err, "is not an *http.Transport")
		require.NoError(t, get(ctx0, credentialWith(t, &managedid.ManagedIdentityCredentialOptions{ClientOptions: inPolicy(&fakeIMDS{})}), vault).Err, "which is not used")
	})
}
