package managedidtest

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// realm is where a request came to: the host, and the tenant as it was given and as it is known.
type realm struct {
	host    string
	tenants []string
	bound   bool // it came through the token proxy
}

// checkCertified checks an assertion that is signed with a certificate's key: Microsoft's page "Microsoft identity platform
// application authentication certificate credentials".
func (a *Application) checkCertified(in assertion, at realm, now time.Time) *refusal {
	switch {
	case !strings.EqualFold(in.Issuer, a.ClientID):
		return otherIssuer()
	case in.Subject != in.Issuer:
		return otherSubject()
	case !slices.ContainsFunc(in.Audience, at.isMeant):
		return otherAudience()
	}
	registered, thumbprint := a.certificate(in.header)
	if registered == nil {
		return unregistered(thumbprint, "The key was not found.", a.ClientID)
	}
	if now.After(registered.NotAfter) {
		return unregistered(thumbprint, "The key used is expired.", a.ClientID)
	}
	key, isRSA := registered.PublicKey.(*rsa.PublicKey)
	if !isRSA || !in.isSignedWith(key) {
		return wrongSignature()
	}
	return nil
}

// certificate returns the registered one that the header names, nil if there is none, and the thumbprint given. The SHA-1
// one is the name that others than Microsoft's libraries use.
func (a *Application) certificate(h jwtHeader) (*x509.Certificate, string) {
	given, is256 := thumbprint(h.SHA256), true
	if len(given) == 0 {
		given, is256 = thumbprint(h.SHA1), false
	}
	for _, c := range a.Certificates {
		long, short := sha256.Sum256(c.Raw), sha1.Sum(c.Raw)
		if is256 && bytes.Equal(given, long[:]) || !is256 && bytes.Equal(given, short[:]) {
			return c, fmt.Sprintf("%X", given)
		}
	}
	return nil, fmt.Sprintf("%X", given)
}

// thumbprint decodes either kind of base64: MSAL Go's is the standard one, with padding, and RFC 7515's is not.
func thumbprint(encoded string) []byte {
	encoded = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(encoded, "="))
	sum, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return nil
	}
	return sum
}

// isSignedWith takes PS256 and RS256.
func (in *assertion) isSignedWith(key *rsa.PublicKey) bool {
	switch in.header.Algorithm {
	case "PS256": // RFC 7518, section 3.5
		return rsa.VerifyPSS(key, crypto.SHA256, in.sum[:], in.signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	case "RS256":
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, in.sum[:], in.signature) == nil
	}
	return false
}

// audiencePaths follow the tenant.
var audiencePaths = []string{"/" + tokenPath, "/oauth2/token", "/v2.0", "/", ""}

// isMeant reports whether the audience is the token endpoint or the issuer of the realm. The host may be that of the public
// cloud where the request came to a regional one.
func (at realm) isMeant(audience string) bool {
	u, err := url.Parse(audience)
	if err != nil || u.Scheme != "https" {
		return false
	}
	regional := strings.HasSuffix(at.host, ".login.microsoft.com") && u.Host == "login.microsoftonline.com"
	if !regional && !strings.EqualFold(u.Host, at.host) {
		return false
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	rest := strings.TrimPrefix(u.Path, "/"+tenant)
	return slices.Contains(audiencePaths, rest) && slices.ContainsFunc(at.tenants, func(t string) bool { return strings.EqualFold(t, tenant) })
}
