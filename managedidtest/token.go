package managedidtest

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"
)

// issuerHost is the beginning of the issuer of a version 1.0 token. The tenant and a slash follow. It is from
// Microsoft's page "Access token claims reference".
const issuerHost = "https://sts.windows.net/"

// token is an issued token. It is immutable.
type token struct {
	raw                string
	notBefore, expires time.Time
}

// hash returns the value with which a client names a token that an API rejected.
func (t token) hash() string {
	sum := sha256.Sum256([]byte(t.raw))
	return hex.EncodeToString(sum[:])
}

// tokenCache issues tokens and, like Azure, returns the same token until it is due for renewal.
type tokenCache struct {
	tenant   string
	lifetime time.Duration

	mu     *sync.Mutex // guards tokens
	tokens map[tokenKey]token
}

type tokenKey struct {
	identity     Identity
	resource     string
	capabilities string // of the client, in the format of xms_cc
}

// newTokenCache makes a cache. A zero lifetime means one hour. Other lifetimes become whole seconds, and never zero.
func newTokenCache(tenant string, lifetime time.Duration) tokenCache {
	switch {
	case lifetime == 0:
		lifetime = time.Hour
	case lifetime > 0:
		lifetime = max(lifetime.Truncate(time.Second), time.Second)
	default:
		lifetime = min(lifetime.Truncate(time.Second), -time.Second)
	}
	return tokenCache{tenant: tenant, lifetime: lifetime, mu: new(sync.Mutex), tokens: map[tokenKey]token{}}
}

// get returns a token that is valid for at least ten more minutes, or for half its lifetime if that is shorter.
func (c *tokenCache) get(id *Identity, resource string, now time.Time) token {
	return c.getExcept("", id, resource, "", now)
}

// getExcept is get for a client with these capabilities. It never returns the token with the hash.
func (c *tokenCache) getExcept(hash string, id *Identity, resource, capabilities string, now time.Time) token {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := tokenKey{*id, resource, capabilities}
	t, ok := c.tokens[key]
	if !ok || t.expires.Sub(now) < min(10*time.Minute, c.lifetime/2) || t.hash() == hash {
		content := claims{Audience: resource, AppID: id.ClientID, ObjectID: id.ObjectID, ResourceID: id.ResourceID}
		if capabilities != "" {
			content.Capabilities = strings.Split(strings.ToUpper(capabilities), ",")
		}
		if *id == cloudShellUser {
			content.IDType = "user"
		}
		t = content.issue(c.tenant, c.lifetime, now)
		c.tokens[key] = t
	}
	return t
}

// claims are the claims of a token. Recorded answers for the Azure SDKs have not_before five minutes before the time of
// issue.
type claims struct {
	Audience   string `json:"aud"`
	Issuer     string `json:"iss"`
	IssuedAt   int64  `json:"iat"`
	NotBefore  int64  `json:"nbf"`
	Expires    int64  `json:"exp"`
	AppID      string `json:"appid"`
	IDType     string `json:"idtyp"`
	ObjectID   string `json:"oid"`
	Subject    string `json:"sub"`
	TenantID   string `json:"tid"`
	UniqueID   string `json:"uti"`
	Version    string `json:"ver"`
	ResourceID string `json:"xms_mirid,omitempty"`

	// Proof is how an application authenticated: 1 with a secret, 2 with an assertion.
	Proof        string   `json:"appidacr,omitempty"`
	Capabilities []string `json:"xms_cc,omitempty"` // of the client, as it told Entra or Service Fabric
}

// issue makes a token of the tenant. c has the audience and the identity. The other claims are filled in.
func (c claims) issue(tenant string, lifetime time.Duration, now time.Time) token {
	now = now.Truncate(time.Second)
	t := token{notBefore: now.Add(-5 * time.Minute), expires: now.Add(lifetime)}
	c.Issuer, c.TenantID = issuerHost+tenant+"/", tenant
	c.IssuedAt, c.NotBefore, c.Expires = now.Unix(), t.notBefore.Unix(), t.expires.Unix()
	c.IDType, c.Subject = cmp.Or(c.IDType, "app"), c.ObjectID
	c.UniqueID, c.Version = newUniqueID(), "1.0"
	t.raw = sign(c)
	return t
}

// signingKey signs all tokens of managed identities and applications.
var signingKey = newSigningKey()

// newSigningKey returns a function that returns a key. The key is made on first use, once per process, since this is
// slow.
func newSigningKey() func() *rsa.PrivateKey {
	return sync.OnceValue(func() *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic("managedidtest: " + err.Error())
		}
		return key
	})
}

// base64URL is the encoding of the parts of a JWT: RFC 7515, section 2. It is strict, since a token has only one valid
// form.
var base64URL = base64.RawURLEncoding.Strict()

type jwtHeader struct {
	Type      string `json:"typ,omitempty"`
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid,omitempty"`

	// The thumbprints of a certificate: RFC 7515, sections 4.1.7 and 4.1.8.
	SHA1   string `json:"x5t,omitempty"`
	SHA256 string `json:"x5t#S256,omitempty"`
}

func sign(c claims) string { return signJWT(signingKey(), "JWT", c) }

func signJWT(key *rsa.PrivateKey, kind string, v any) string {
	signed := jsonPart(jwtHeader{Type: kind, Algorithm: "RS256", KeyID: keyID(&key.PublicKey)}) + "." + jsonPart(v)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		panic("managedidtest: " + err.Error())
	}
	return signed + "." + base64URL.EncodeToString(signature)
}

func jsonPart(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		// Every v is a struct of strings, integers and the like.
		panic("managedidtest: " + err.Error())
	}
	return base64URL.EncodeToString(b)
}

func keyID(k *rsa.PublicKey) string {
	sum := sha256.Sum256(k.N.Bytes())
	return base64URL.EncodeToString(sum[:20])
}

// jwk is a public RSA key: RFC 7517, and RFC 7518, section 6.3.
type jwk struct {
	KeyType   string `json:"kty"`
	Use       string `json:"use"`
	KeyID     string `json:"kid"`
	Algorithm string `json:"alg"`
	Modulus   string `json:"n"`
	Exponent  string `json:"e"`
}

type jwkSet struct {
	Keys []jwk `json:"keys"`
}

func publicKeys() jwkSet {
	k := &signingKey().PublicKey
	return jwkSet{[]jwk{{
		KeyType: "RSA", Use: "sig", KeyID: keyID(k), Algorithm: "RS256",
		Modulus:  base64URL.EncodeToString(k.N.Bytes()),
		Exponent: base64URL.EncodeToString(big.NewInt(int64(k.E)).Bytes()),
	}}}
}

func jwks(r *http.Request) answer {
	if r.Method != http.MethodGet {
		return notGET(emptyAnswer(http.StatusMethodNotAllowed, Keys))
	}
	return jsonAnswer(http.StatusOK, Keys, publicKeys())
}
