package managedid

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/internal/files"
	"github.com/managedid/managedid/internal/text"
)

// tokenProxy is a transport that sends requests for Entra to the token proxy of the cluster ("Identity bindings" of
// AKS, and azidentity's internal/customtokenproxy).
type tokenProxy struct {
	key        string // its name in a cache
	url        *url.URL
	serverName string // "": that of the URL
	caFile     string // read for each request; "": the trusted certificates never change

	mu     sync.Mutex
	trust  []byte       // the certificates that client trusts, in PEM; nil: the system's roots; guarded by mu
	client *http.Client // guarded by mu
}

// newTokenProxy returns the proxy that the environment variables describe, or nil if there is none.
func newTokenProxy() (*tokenProxy, error) {
	p := &tokenProxy{serverName: os.Getenv(tokenProxySNI), caFile: os.Getenv(tokenProxyCAFile)}
	address, data := os.Getenv(tokenProxyVariable), os.Getenv(tokenProxyCAData)
	switch {
	case address == "" && cmp.Or(p.serverName, p.caFile, data) == "":
		return nil, nil
	case address == "":
		return nil, errors.New(tokenProxyVariable +
			" is not set, but another variable of the token proxy is; set it too, or leave out EnableAzureProxy")
	case p.caFile != "" && data != "":
		return nil, fmt.Errorf("%s and %s are both set; unset one of them", tokenProxyCAFile, tokenProxyCAData)
	}
	u, err := parseEndpoint(tokenProxyVariable, address)
	if err != nil || u.Scheme != "https" || u.RawQuery != "" || u.ForceQuery {
		return nil, errors.New(tokenProxyVariable + " is not an https URL without user, query and fragment")
	}
	u.Path = cmp.Or(u.Path, "/") // without this, JoinPath returns a relative path
	p.url = u
	switch {
	case p.caFile != "":
		p.caFile = files.Absolute(p.caFile)
		_, err = p.current()
	case data != "":
		if err = p.rely([]byte(data)); err != nil {
			err = fmt.Errorf("%s can't be used: %w", tokenProxyCAData, err)
		}
	default:
		p.client = p.trusting(nil)
	}
	p.key = fmt.Sprintf("%s %q %q %s", u, p.serverName, p.caFile, keyedHash(data))
	return p, err
}

// transport returns the proxy in place of the user's transport.
func (p *tokenProxy) transport(policy.Transporter) (policy.Transporter, error) { return p, nil }

// Do sends the request to the proxy. If the proxy's certificate is not trusted and the trusted certificates were
// replaced meanwhile, it tries once more. A failed handshake sends nothing, so this is safe.
func (p *tokenProxy) Do(req *http.Request) (*http.Response, error) {
	client, err := p.current()
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(p.directed(req))
	if !isUntrusted(err) {
		return resp, err
	}
	next, unreadable := p.current()
	if unreadable != nil {
		return nil, unreadable
	} else if next != client {
		resp, err = next.Do(p.directed(req))
	}
	if isUntrusted(err) {
		err = transportError{err: err,
			cause: transportCause(err) + "; see that " + tokenProxyCAFile + " or " + tokenProxyCAData +
				" has the proxy's authority, and " + tokenProxySNI + " its name"}
	}
	return resp, err
}

// directed returns a copy of the request that goes to the proxy. Path, query and Host header stay those of Entra.
func (p *tokenProxy) directed(req *http.Request) *http.Request {
	r := req.Clone(req.Context())
	r.URL, r.Host = p.url.JoinPath(req.URL.EscapedPath()), cmp.Or(req.Host, req.URL.Host)
	r.URL.RawQuery = req.URL.RawQuery
	return r
}

// current returns the client for a request. An empty file is being replaced, so the last client stays in use.
func (p *tokenProxy) current() (*http.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.caFile == "" {
		return p.client, nil
	}
	content, err := files.Read(p.caFile, answer.MaxBody)
	if p.client != nil && err == nil && (len(bytes.TrimSpace(content)) == 0 || bytes.Equal(content, p.trust)) {
		return p.client, nil
	}
	if err == nil {
		err = p.rely(content)
	}
	if err != nil {
		return nil, transportError{err: err,
			cause: text.Line(fmt.Sprintf("the file %s, from %s, can't be used: %v", text.Path(p.caFile),
				tokenProxyCAFile, err))}
	}
	return p.client, nil
}

// rely makes a client that trusts only these certificates. The caller holds mu, or is the only user of p.
func (p *tokenProxy) rely(content []byte) error {
	roots := x509.NewCertPool()
	if len(bytes.TrimSpace(content)) == 0 {
		return files.ErrEmpty
	} else if !roots.AppendCertsFromPEM(content) {
		return errors.New("it has no certificate in PEM")
	}
	p.trust, p.client = content, p.trusting(roots)
	return nil
}

// trusting returns a client that trusts the roots. Nil means the system's roots. It keeps no idle connections, because
// they would outlast a change of the trusted certificates.
func (p *tokenProxy) trusting(roots *x509.CertPool) *http.Client {
	c := newHTTPClient(http.ProxyFromEnvironment)
	c.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots, ServerName: p.serverName}
	return c
}
