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

// destination is where a request arrived.
type destination struct {
	host     string
	tenants  []string // the tenant as in the request, and in the spelling of Options
	viaProxy bool     // the request came through the token proxy
}

// checkCertified checks an assertion that is signed with a certificate's key: Microsoft's page "Microsoft identity
// platform application authentication certificate credentials".
func (a *Application) checkCertified(presented assertion, dest destination, now time.Time) *refusal {
	switch {
	case !strings.EqualFold(presented.Issuer, a.ClientID):
		return otherIssuer()
	case presented.Subject != presented.Issuer:
		return otherSubject()
	case !slices.ContainsFunc(presented.Audience, dest.accepts):
		return otherAudience()
	}
	registered, thumbprint := a.certificate(presented.header)
	if registered == nil {
		return unregistered(thumbprint, "The key was not found.", a.ClientID)
	}
	if now.After(registered.NotAfter) {
		return unregistered(thumbprint, "The key used is expired.", a.ClientID)
	}
	key, isRSA := registered.PublicKey.(*rsa.PublicKey)
	if !isRSA || !presented.isSignedWith(key) {
		return wrongSignature()
	}
	return nil
}

// certificate returns the registered certificate that the header names, or nil if there is none, and the thumbprint in
// the header. Microsoft's libraries send a SHA-256 thumbprint. Other libraries send a SHA-1 thumbprint.
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

// thumbprint decodes standard and URL base64, with or without padding. MSAL Go sends the standard form with padding,
// RFC 7515 the URL form without it. It returns nil if the text is neither.
func thumbprint(encoded string) []byte {
	encoded = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(encoded, "="))
	sum, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return nil
	}
	return sum
}

// isSignedWith reports whether the key made the signature, with PS256 or RS256.
func (presented *assertion) isSignedWith(key *rsa.PublicKey) bool {
	switch presented.header.Algorithm {
	case "PS256": // RFC 7518, section 3.5
		return rsa.VerifyPSS(key, crypto.SHA256, presented.sum[:], presented.signature,
			&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	case "RS256":
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, presented.sum[:], presented.signature) == nil
	}
	return false
}

// audiencePaths are the parts of an audience after the tenant.
var audiencePaths = []string{"/" + tokenPath, "/oauth2/token", "/v2.0", "/", ""}

// accepts reports whether the audience is the token endpoint or the issuer of the destination. At a regional host, the
// host of the public cloud is accepted too.
func (dest destination) accepts(audience string) bool {
	u, err := url.Parse(audience)
	if err != nil || u.Scheme != "https" {
		return false
	}
	regional := strings.HasSuffix(dest.host, ".login.microsoft.com") && u.Host == "login.microsoftonline.com"
	if !regional && !strings.EqualFold(u.Host, dest.host) {
		return false
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	rest := strings.TrimPrefix(u.Path, "/"+tenant)
	return slices.Contains(audiencePaths, rest) && slices.ContainsFunc(dest.tenants,
		func(t string) bool { return strings.EqualFold(t, tenant) })
}
