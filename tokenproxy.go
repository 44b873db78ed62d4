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
)

// The variables that the webhook of Azure workload identity sets in a pod with an identity binding.
const (
	tokenProxyVariable = "AZURE_KUBERNETES_TOKEN_PROXY"
	tokenProxySNI      = "AZURE_KUBERNETES_SNI_NAME"
	tokenProxyCAFile   = "AZURE_KUBERNETES_CA_FILE"
	tokenProxyCAData   = "AZURE_KUBERNETES_CA_DATA"
)

// tokenProxy sends what is for Entra to the cluster's token proxy, as a transport: "Identity bindings" of AKS, and azidentity's
// internal/customtokenproxy.
type tokenProxy struct {
	identity   string // names it in a cache
	url        *url.URL
	serverName string // "": the URL's
	caFile     string // read for each request; "": what is trusted stays

	mu     sync.Mutex
	trust  []byte       // what the client trusts, in PEM; nil: the system's roots; guarded by mu
	client *http.Client // guarded by mu
}

// newTokenProxy reads the variables; nil means that there is no proxy.
func newTokenProxy() (*tokenProxy, error) {
	p := &tokenProxy{serverName: os.Getenv(tokenProxySNI), caFile: os.Getenv(tokenProxyCAFile)}
	address, data := os.Getenv(tokenProxyVariable), os.Getenv(tokenProxyCAData)
	switch {
	case address == "" && cmp.Or(p.serverName, p.caFile, data) == "":
		return nil, nil
	case address == "":
		return nil, errors.New(tokenProxyVariable + " is not set, but another variable of the token proxy is; set it too, or leave out EnableAzureProxy")
	case p.caFile != "" && data != "":
		return nil, fmt.Errorf("%s and %s are both set; unset one of them", tokenProxyCAFile, tokenProxyCAData)
	}
	u, err := parseEndpoint(tokenProxyVariable, address)
	if err != nil || u.Scheme != "https" || u.RawQuery != "" || u.ForceQuery {
		return nil, errors.New(tokenProxyVariable + " is not an https URL without user, query and fragment")
	}
	u.Path = cmp.Or(u.Path, "/") // JoinPath would make a relative one
	p.url = u
	switch {
	case p.caFile != "":
		p.caFile = absolute(p.caFile)
		_, err = p.current()
	case data != "":
		if err = p.rely([]byte(data)); err != nil {
			err = fmt.Errorf("%s can't be used: %w", tokenProxyCAData, err)
		}
	default:
		p.client = p.trusting(nil)
	}
	p.identity = fmt.Sprintf("%s %q %q %s", u, p.serverName, p.caFile, keyedHash(data))
	return p, err
}

// transport replaces the user's.
func (p *tokenProxy) transport(policy.Transporter) (policy.Transporter, error) { return p, nil }

// Do sends the request to the proxy, and once more where the certificates that it is trusted by were replaced during the
// handshake, before which nothing is sent.
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
		err = transportError{err: err, cause: transportCause(err) + "; see that " + tokenProxyCAFile + " or " + tokenProxyCAData +
			" has the proxy's authority, and " + tokenProxySNI + " its name"}
	}
	return resp, err
}

// directed returns the request to the proxy. All but the URL's beginning stays, the Host header too.
func (p *tokenProxy) directed(req *http.Request) *http.Request {
	r := req.Clone(req.Context())
	r.URL, r.Host = p.url.JoinPath(req.URL.EscapedPath()), cmp.Or(req.Host, req.URL.Host)
	r.URL.RawQuery = req.URL.RawQuery
	return r
}

// current returns the client for a request. A file that is empty is in the middle of its replacement.
func (p *tokenProxy) current() (*http.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.caFile == "" {
		return p.client, nil
	}
	content, err := readRegular(p.caFile, maxBody)
	if p.client != nil && err == nil && (len(bytes.TrimSpace(content)) == 0 || bytes.Equal(content, p.trust)) {
		return p.client, nil
	}
	if err == nil {
		err = p.rely(content)
	}
	if err != nil {
		return nil, transportError{err: err, cause: oneLine(fmt.Sprintf("the file %s, from %s, can't be used: %v", shownPath(p.caFile), tokenProxyCAFile, err))}
	}
	return p.client, nil
}

// rely makes a client that trusts only what these certificates have signed. The caller holds mu, or is the only one.
func (p *tokenProxy) rely(content []byte) error {
	roots := x509.NewCertPool()
	if len(bytes.TrimSpace(content)) == 0 {
		return errEmpty
	} else if !roots.AppendCertsFromPEM(content) {
		return errors.New("it has no certificate in PEM")
	}
	p.trust, p.client = content, p.trusting(roots)
	return nil
}

// trusting makes a client that keeps no idle connections, so that none outlives what it trusts. Nil means the system's roots.
func (p *tokenProxy) trusting(roots *x509.CertPool) *http.Client {
	c := newHTTPClient(http.ProxyFromEnvironment)
	c.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots, ServerName: p.serverName}
	return c
}
