package managedidtest

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTokens_areRenewedToTheSecond(t *testing.T) {
	tests := []struct {
		name     string
		lifetime time.Duration
		cached   time.Duration // age at which the first token is still returned
		in       string        // expires_in at this age
		lives    string
	}{
		{"one hour, unless told", 0, 50 * time.Minute, "600", "3600"},
		{"a day", 24 * time.Hour, 24*time.Hour - 10*time.Minute, "600", "86400"},
		{"half of a short life", 10 * time.Minute, 5 * time.Minute, "300", "600"},
		{"whole seconds", 2500 * time.Millisecond, time.Second, "1", "2"},
		{"a second at least", time.Millisecond, 0, "1", "1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := New(&Options{TokenLifetime: tt.lifetime})
				first := getToken(t, e, IMDS)
				require.Equal(t, tt.lives, first["expires_in"])
				require.Equal(t, tt.lives, first["ext_expires_in"])
				time.Sleep(tt.cached)
				repeated := getToken(t, e, IMDS)
				require.Equal(t, first["access_token"], repeated["access_token"])
				require.Equal(t, first["expires_on"], repeated["expires_on"])
				require.Equal(t, tt.in, repeated["expires_in"])
				require.Equal(t, tt.lives, repeated["ext_expires_in"])
				require.Equal(t, first["access_token"], getToken(t, e, AppService)["access_token"])
				time.Sleep(time.Second)
				second := getToken(t, e, IMDS)
				require.NotEqual(t, first["access_token"], second["access_token"])
				require.Equal(t, tt.lives, second["expires_in"])
			})
		})
	}
}

func TestTokens_areOnePerIdentityAndResource(t *testing.T) {
	e := New(&Options{UserAssigned: make([]Identity, 2)})
	seen := map[string]bool{}
	for _, query := range [][]string{
		nil,
		{"resource=" + vault + "/"},
		{"client_id=" + e.UserAssigned()[0].ClientID},
		{"client_id=" + e.UserAssigned()[1].ClientID},
	} {
		seen[getToken(t, e, IMDS, query...)["access_token"]] = true
	}
	require.Len(t, seen, 4)
}

func TestTokens_sayWhoAndWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(&Options{TenantID: "T"})
		time.Sleep(1500 * time.Millisecond)
		fields := getToken(t, e, IMDS)
		require.Equal(t, "3599", fields["expires_in"], "whole seconds are left")
		now := time.Now().Unix()
		parts := strings.Split(fields["access_token"], ".")
		require.Len(t, parts, 3)
		var header map[string]string
		require.NoError(t, decodePart(parts[0], &header))
		require.Equal(t, map[string]string{"alg": "RS256", "typ": "JWT", "kid": keyID(&signingKey().PublicKey)}, header)

		var c map[string]any
		require.NoError(t, decodePart(parts[1], &c))
		require.Regexp(t, `^[\w-]{22}$`, c["uti"])
		delete(c, "uti")
		id := e.SystemAssigned()
		require.Equal(t, map[string]any{
			"aud": vault, "iss": "https://sts.windows.net/T/", "tid": "T", "ver": "1.0", "idtyp": "app",
			"iat": float64(now), "nbf": float64(now - 300), "exp": float64(now + 3600),
			"appid": id.ClientID, "oid": id.ObjectID, "sub": id.ObjectID, "xms_mirid": id.ResourceID,
		}, c)
		require.EqualValues(t, time.Unix(now+3600, 0).Unix(), jsonNumber(t, fields["expires_on"]))
		require.EqualValues(t, now-300, jsonNumber(t, fields["not_before"]))
	})
}

func jsonNumber(t *testing.T, s string) int64 {
	t.Helper()
	n, err := json.Number(s).Int64()
	require.NoError(t, err)
	return n
}

func TestTokens_mayHaveExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(&Options{TokenLifetime: -time.Minute})
		require.Equal(t, "-60", getToken(t, e, IMDS)["expires_in"])
	})
}

func TestKeys_areAJSONWebKeySet(t *testing.T) {
	e := New(nil)
	code, header, body := send(t, e, newGet(t, e, Keys))
	require.Equal(t, 200, code)
	require.Equal(t, "application/json; charset=utf-8", header.Get("Content-Type"))
	require.Regexp(t, `^{"keys":\[{"kty":"RSA","use":"sig","kid":"[\w-]{27}","alg":"RS256",`+
		`"n":"[\w-]{342}","e":"AQAB"}\]}$`, body)
	require.Equal(t, e.URL+"/discovery/keys", e.JWKSURL())

	post := newGet(t, e, Keys)
	post.Method = http.MethodPost
	code, _, _ = send(t, e, post)
	require.Equal(t, 405, code)
}

// The test runs in a process of its own, which then uses the key and its random numbers for the first time.
func TestSigningKey_maybeMadeInABubble(t *testing.T) {
	const inBubble = "MANAGEDIDTEST_IN_BUBBLE"
	if os.Getenv(inBubble) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inBubble+"=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return
	}
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			e := New(nil)
			getToken(t, e, IMDS)
			requestToken(t, e, withAssertion(read(t, newTokenFile(t, e, nil).Path))...)
			require.Zero(t, time.Since(begin), "making keys takes no time on the bubble's clock")
		})
	}
	getToken(t, New(nil), IMDS)
}
