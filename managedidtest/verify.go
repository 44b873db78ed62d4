package managedidtest

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Claims are the claims of a verified token.
type Claims struct {
	Audience  string // the resource that the token is for
	Issuer    string
	TenantID  string
	ClientID  string // of the identity or application
	ObjectID  string // of the identity, or of the application's service principal
	NotBefore time.Time
	Expires   time.Time
}

// errKeys marks a failure to get the public keys. Such a failure says nothing about the token.
var errKeys = errors.New("no keys")

// VerifyToken checks a token like an API that receives it. It checks the RS256 signature with the keys at jwksURL. It
// also checks that the audience is exactly this one, that the token is valid now, and that the issuer belongs to the
// token's tenant. The caller checks the tenant itself. A nil client means [http.DefaultClient]. No error contains a
// part of the token.
func VerifyToken(ctx context.Context, client *http.Client, jwksURL, token, audience string) (Claims, error) {
	c, err := (&keySet{client: client, url: jwksURL}).verify(ctx, token, audience, time.Now())
	if err != nil {
		return Claims{}, err
	}
	return Claims{
		Audience: c.Audience, Issuer: c.Issuer, TenantID: c.TenantID, ClientID: c.AppID, ObjectID: c.ObjectID,
		NotBefore: time.Unix(c.NotBefore, 0), Expires: time.Unix(c.Expires, 0),
	}, nil
}

func (k *keySet) verify(ctx context.Context, token, audience string, now time.Time) (c claims, err error) {
	parts := strings.Split(token, ".")
	var header jwtHeader
	if len(parts) != 3 || decodePart(parts[0], &header) != nil || decodePart(parts[1], &c) != nil {
		return c, errors.New("managedidtest: the token is no JWT")
	}
	signature, err := base64URL.DecodeString(parts[2])
	if err != nil {
		return c, errors.New("managedidtest: the token is no JWT")
	}
	if header.Algorithm != "RS256" {
		return c, errors.New("managedidtest: the token is not signed with RS256")
	}
	key, err := k.key(ctx, header.KeyID)
	if err != nil {
		return c, err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) != nil {
		return c, errors.New("managedidtest: the token's signature is wrong")
	}
	return c, c.check(audience, now)
}

// check checks the issuer, the audience and the times.
func (c *claims) check(audience string, now time.Time) error {
	switch {
	case c.TenantID == "" || c.Issuer != issuerHost+c.TenantID+"/":
		return errors.New("managedidtest: the token is not from its tenant's issuer")
	case c.Audience != audience:
		return errors.New("managedidtest: the token is for another audience")
	case now.Before(time.Unix(c.NotBefore, 0)):
		return errors.New("managedidtest: the token is not valid yet")
	case !now.Before(time.Unix(c.Expires, 0)):
		return errors.New("managedidtest: the token has expired")
	}
	return nil
}

// decodePart decodes a part of a JWT into v.
func decodePart(part string, v any) error {
	b, err := base64URL.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// keySet is a cache of public keys. It fetches them when it meets an unknown key ID.
type keySet struct {
	client *http.Client // nil: http.DefaultClient
	url    string

	mu   sync.Mutex // guards keys
	keys map[string]*rsa.PublicKey
}

func (k *keySet) key(ctx context.Context, id string) (*rsa.PublicKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys[id] == nil {
		keys, err := k.fetch(ctx)
		if err != nil {
			return nil, fmt.Errorf("managedidtest: %w: %w", errKeys, err)
		}
		k.keys = keys
	}
	if k.keys[id] == nil {
		return nil, errors.New("managedidtest: the token is signed with an unknown key")
	}
	return k.keys[id], nil
}

func (k *keySet) fetch(ctx context.Context) (map[string]*rsa.PublicKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, err
	}
	client := k.client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", k.url, resp.Status)
	}
	var set jwkSet
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&set); err != nil {
		return nil, fmt.Errorf("GET %s: %w", k.url, err)
	}
	return set.public(), nil
}

// public returns the RSA keys for RS256 by key ID.
func (s jwkSet) public() map[string]*rsa.PublicKey {
	keys := map[string]*rsa.PublicKey{}
	for _, k := range s.Keys {
		n, errN := base64URL.DecodeString(k.Modulus)
		e, errE := base64URL.DecodeString(k.Exponent)
		if k.KeyType != "RSA" || k.Algorithm != "RS256" || errN != nil || errE != nil || len(e) > 3 {
			continue
		}
		keys[k.KeyID] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	}
	return keys
}
