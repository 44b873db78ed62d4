package managedidtest

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// TokenProxy is the token proxy of an AKS cluster. AKS gives its address and its files to a pod with an identity
// binding, which is a preview feature. The pod's requests for Entra go to the proxy. It is safe for concurrent use.
type TokenProxy struct {
	URL        string     // scheme, host and port; clients may add any path
	ServerName string     // name that clients send by TLS's SNI, and that the certificate is for
	CAFile     string     // path of the authority's certificate, in PEM
	TokenFile  *TokenFile // its tokens are accepted only by the proxy

	current *currentLeaf // a pointer, so that printing reads no changing field
}

type currentLeaf struct {
	sync.Mutex
	leaf *tls.Certificate // guarded by the mutex
}

// bindingAudience is the audience of the tokens of pods with an identity binding. bindingName is the end of the proxy's
// server name. Both are from Microsoft's page "Set up identity bindings" of AKS.
const (
	bindingAudience = "api://AKSIdentityBinding"
	bindingName     = ".ests.aks"
)

// NewTokenProxy starts a token proxy on loopback. It makes the files that a pod mounts in the directory, which must
// exist and should be empty. [Emulator.Environ] for [IdentityBinding] describes the latest proxy. [Server.Close] stops
// it. The emulator never removes the files.
func (s *Server) NewTokenProxy(dir string) (*TokenProxy, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &TokenProxy{URL: "https://" + l.Addr().String(), ServerName: stableGUID("cluster")[:8] + bindingName,
		CAFile: filepath.Join(dir, "ca.crt"), current: &currentLeaf{}}
	p.TokenFile, err = makeTokenFile(dir, &TokenFileOptions{Audience: bindingAudience})
	if err == nil {
		err = p.Rotate()
	}
	if err == nil {
		err = s.host.add(l, &tls.Config{GetCertificate: p.certificate})
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	s.s.proxy = p
	return p, nil
}

// Rotate makes a new authority and a new certificate for the proxy, and replaces CAFile atomically.
func (p *TokenProxy) Rotate() error {
	p.current.Lock()
	defer p.current.Unlock()
	authority := newAuthority()
	leaf := authority.sign(leafTemplate(p.ServerName))
	if err := replaceFile(p.CAFile, authority.pem()); err != nil {
		return err
	}
	p.current.leaf = &leaf
	return nil
}

// certificate returns the proxy's certificate, or an error for another server name.
func (p *TokenProxy) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if hello.ServerName != p.ServerName {
		return nil, errors.New("unknown server name")
	}
	p.current.Lock()
	defer p.current.Unlock()
	return p.current.leaf, nil
}

// isBound reports whether a request came through the token proxy.
func (s *state) isBound(r *http.Request) bool {
	if r.TLS == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proxy != nil && r.TLS.ServerName == s.proxy.ServerName
}

// forwarded returns the request that Entra receives. The token proxy accepts Entra's paths after any prefix. It adds
// the tenant to a token request for its root, which is where the curl command of "Set up identity bindings" sends it.
func (s *state) forwarded(r *http.Request) *http.Request {
	if !s.isBound(r) {
		return r
	}
	rest := strings.Trim(r.URL.Path, "/")
	if rest == "" && r.Method == http.MethodPost {
		rest = s.options.TenantID + "/" + tokenPath
	}
	for ; rest != ""; _, rest, _ = strings.Cut(rest, "/") {
		inner, u := *r, *r.URL
		inner.URL, u.Path = &u, "/"+rest
		if endpoint := endpointOf(&inner, true); endpoint == Entra || endpoint == Discovery {
			return &inner
		}
	}
	return r
}

// checkBound checks an assertion that came through the token proxy. It needs no federated credential, since the
// cluster's identity binding replaces it.
func checkBound(presented assertion) *refusal {
	key := &clusterKey().PublicKey
	switch {
	case presented.Issuer != clusterIssuer():
		return otherFederation(700211, "issuer", presented.Issuer)
	case !slices.Contains(presented.Audience, bindingAudience):
		return otherFederation(700212, "audience", strings.Join(presented.Audience, ","))
	case presented.header.KeyID != keyID(key):
		return unknownKey(presented.header.KeyID, presented.Issuer)
	case presented.header.Algorithm != "RS256" || !presented.isSignedWith(key):
		return wrongSignature()
	}
	return nil
}
