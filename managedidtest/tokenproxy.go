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

// TokenProxy is what a cluster of AKS gives a pod that has an identity binding, a preview feature: the address to which its
// requests for Entra go, and the files that it mounts. It is safe for concurrent use.
type TokenProxy struct {
	URL        string     // scheme, host and port; clients may add a path of their choice
	ServerName string     // that clients have to ask for by TLS's SNI, and that its certificate is for
	CAFile     string     // the path of the authority's certificate, in PEM
	TokenFile  *TokenFile // whose tokens are taken by the proxy alone

	held *heldLeaf // behind a pointer so that printing reads nothing that changes
}

type heldLeaf struct {
	sync.Mutex
	leaf *tls.Certificate // guarded by the mutex
}

// bindingAudience is that of the tokens of pods with an identity binding, and bindingName the kind of name that the proxy has:
// Microsoft's page "Set up identity bindings" of AKS.
const (
	bindingAudience = "api://AKSIdentityBinding"
	bindingName     = ".ests.aks"
)

// NewTokenProxy starts a token proxy on loopback, and makes the files that a pod mounts in the directory, which must exist
// and should be empty. [Emulator.Environ] of an [IdentityBinding] names the last one that was made. [Server.Close] ends it; nobody
// removes the files.
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
		CAFile: filepath.Join(dir, "ca.crt"), held: &heldLeaf{}}
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

// Rotate makes a new authority and a new certificate of the proxy's, and replaces the file, all at once.
func (p *TokenProxy) Rotate() error {
	p.held.Lock()
	defer p.held.Unlock()
	authority := newAuthority()
	leaf := authority.sign(leafTemplate(p.ServerName))
	if err := replaceFile(p.CAFile, authority.pem()); err != nil {
		return err
	}
	p.held.leaf = &leaf
	return nil
}

func (p *TokenProxy) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if hello.ServerName != p.ServerName {
		return nil, errors.New("unknown server name")
	}
	p.held.Lock()
	defer p.held.Unlock()
	return p.held.leaf, nil
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

// forwarded returns the request as Entra gets it. The token proxy takes Entra's paths behind any prefix, and knows the tenant of
// a request for a token at its root, where the curl of "Set up identity bindings" sends one.
func (s *state) forwarded(r *http.Request) *http.Request {
	if !s.isBound(r) {
		return r
	}
	rest := strings.Trim(r.URL.Path, "/")
	if rest == "" && r.Method == http.MethodPost {
		rest = s.options.TenantID + "/" + tokenPath
	}
	for ; rest != ""; _, rest, _ = strings.Cut(rest, "/") {
		to, u := *r, *r.URL
		to.URL, u.Path = &u, "/"+rest
		if at := endpointOf(&to, true); at == Entra || at == Discovery {
			return &to
		}
	}
	return r
}

// checkBound checks an assertion that came through the token proxy, which needs no federated credential: the identity binding
// of the cluster stands for it.
func checkBound(in assertion) *refusal {
	key := &clusterKey().PublicKey
	switch {
	case in.Issuer != clusterIssuer():
		return otherFederation(700211, "issuer", in.Issuer)
	case !slices.Contains(in.Audience, bindingAudience):
		return otherFederation(700212, "audience", strings.Join(in.Audience, ","))
	case in.header.KeyID != keyID(key):
		return unknownKey(in.header.KeyID, in.Issuer)
	case in.header.Algorithm != "RS256" || !in.isSignedWith(key):
		return wrongSignature()
	}
	return nil
}
