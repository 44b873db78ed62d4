package managedidtest

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func goodClaims() claims {
	return claims{
		Audience: vault, Issuer: "https://sts.windows.net/T/", TenantID: "T", AppID: "c", ObjectID: "o",
		NotBefore: time.Now().Unix() - 300, Expires: time.Now().Unix() + 3600,
	}
}

// changed returns a valid token with one change.
func changed(change func(*claims)) string {
	c := goodClaims()
	change(&c)
	return sign(c)
}

func TestVerifyToken_refuses(t *testing.T) {
	valid := sign(goodClaims())
	parts := strings.Split(valid, ".")
	header := func(json string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(json)) + "." + parts[1] + "." + parts[2]
	}
	tests := []struct{ name, token, problem string }{
		{"nothing", "", "no JWT"},
		{"two parts", parts[0] + "." + parts[1], "no JWT"},
		{"four parts", valid + ".", "no JWT"},
		{"another encoding", valid + "=", "no JWT"},
		{"a header that is no JSON", header("x"), "no JWT"},
		{"no algorithm", header(`{"alg":"none","kid":"` + keyID(&signingKey().PublicKey) + `"}`),
			"not signed with RS256"},
		{"another algorithm", header(`{"alg":"HS256"}`), "not signed with RS256"},
		{"another key", header(`{"alg":"RS256","kid":"x"}`), "unknown key"},
		{"no signature", parts[0] + "." + parts[1] + ".", "signature is wrong"},
		{"a tampered signature", parts[0] + "." + parts[1] + "." + flip(parts[2]), "signature is wrong"},
		{"tampered claims", parts[0] + "." + strings.Split(changed(func(c *claims) { c.AppID = "x" }), ".")[1] + "." +
			parts[2], "signature is wrong"},
		{"another audience", changed(func(c *claims) { c.Audience = vault + "/" }), "another audience"},
		{"another issuer", changed(func(c *claims) { c.Issuer = "https://example.com/T/" }), "its tenant's issuer"},
		{"another tenant's issuer", changed(func(c *claims) { c.TenantID = "U" }), "its tenant's issuer"},
		{"no tenant", changed(func(c *claims) { c.TenantID = ""; c.Issuer = "https://sts.windows.net//" }),
			"its tenant's issuer"},
		{"not yet valid", changed(func(c *claims) { c.NotBefore = time.Now().Unix() + 3600 }), "not valid yet"},
		{"expired", changed(func(c *claims) { c.Expires = time.Now().Unix() - 1 }), "expired"},
	}
	e := New(nil)
	client := &http.Client{Transport: e}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := VerifyToken(t.Context(), client, e.JWKSURL(), tt.token, vault)
			require.ErrorContains(t, err, tt.problem)
			require.NotContains(t, err.Error(), "eyJ")
		})
	}
}

func TestVerifyToken_returnsTheClaims(t *testing.T) {
	e := New(nil)
	good := goodClaims()
	c, err := VerifyToken(t.Context(), &http.Client{Transport: e}, e.JWKSURL(), sign(good), vault)
	require.NoError(t, err)
	require.Equal(t, Claims{
		Audience: vault, Issuer: good.Issuer, TenantID: "T", ClientID: "c", ObjectID: "o",
		NotBefore: time.Unix(good.NotBefore, 0), Expires: time.Unix(good.Expires, 0),
	}, c)
}

// flip changes one bit in the middle.
func flip(s string) string {
	b, _ := base64.RawURLEncoding.DecodeString(s)
	b[len(b)/2] ^= 1
	return base64.RawURLEncoding.EncodeToString(b)
}

func TestVerifyToken_validToTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(nil)
		client := &http.Client{Transport: e}
		token := getToken(t, e, IMDS)["access_token"]
		verify := func() error {
			_, err := VerifyToken(t.Context(), client, e.JWKSURL(), token, vault)
			return err
		}
		require.NoError(t, verify())
		time.Sleep(time.Hour - time.Nanosecond)
		require.NoError(t, verify())
		time.Sleep(time.Nanosecond)
		require.ErrorContains(t, verify(), "expired")
	})
}

func TestVerifyToken_saysThatThereAreNoKeys(t *testing.T) {
	e := New(nil)
	client := &http.Client{Transport: e}
	token := getToken(t, e, IMDS)["access_token"]
	for name, f := range map[string]Fault{
		"GET http://169.254.169.254/discovery/keys: 500 Internal Server Error": {Status: 500},
		"connection refused": {Refused: true},
		"invalid character":  {Body: "<html>"},
		"unknown key":        {Body: `{"keys":[{"kty":"EC"},{"kty":"RSA","alg":"RS256","n":"*"}]}`},
	} {
		e.ClearFaults()
		e.Inject(f)
		_, err := VerifyToken(t.Context(), client, e.JWKSURL(), token, vault)
		require.ErrorContains(t, err, name)
	}
	_, err := VerifyToken(t.Context(), nil, ":", token, vault)
	require.ErrorIs(t, err, errKeys)
}
