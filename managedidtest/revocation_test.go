package managedidtest

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

const claimsOfCAE = `claims={"access_token":{"xms_cc":{"values":["CP1"]}}}`

func TestRevokeTokens_isOfThoseIssuedBefore(t *testing.T) {
	srv := newServer(t, nil)
	api := srv.NewResource(vault, nil)
	scope := "scope=" + vault + "/.default"
	identity := getToken(t, srv.Emulator, IMDS)["access_token"]
	plain, cae := requestToken(t, srv.Emulator, scope), requestToken(t, srv.Emulator, scope, claimsOfCAE)
	status := func(token string) int {
		code, _, _ := call(t, srv, api.URL, "Bearer "+token)
		return code
	}
	require.Equal(t, []int{200, 200, 200}, []int{status(identity), status(plain), status(cae)})
	srv.RevokeTokens()
	require.Equal(t, []int{401, 401, 401}, []int{status(identity), status(plain), status(cae)})
	require.Equal(t, 401, status(getToken(t, srv.Emulator, IMDS)["access_token"]), "the platform keeps it")
	require.Equal(t, 200, status(requestToken(t, srv.Emulator, scope)))
	later := requestToken(t, srv.Emulator, scope, claimsOfCAE)
	require.Equal(t, 200, status(later))
	srv.RevokeTokens()
	require.Equal(t, 401, status(later))
}

func TestRevokeTokens_challengesClientsThatHandleCAE(t *testing.T) {
	srv := newServer(t, nil)
	api := srv.NewResource(vault, nil)
	plain, cae := requestToken(t, srv.Emulator, "scope="+vault+"/.default"),
		requestToken(t, srv.Emulator, "scope="+vault+"/.default", claimsOfCAE)
	srv.RevokeTokens()
	_, header, body := call(t, srv, api.URL, "Bearer "+plain)
	require.Contains(t, header.Get("WWW-Authenticate"), `error="invalid_token"`)
	require.Contains(t, body, "the token has been revoked")
	_, header, _ = call(t, srv, api.URL, "Bearer "+cae)
	pattern := regexp.MustCompile(`error="insufficient_claims", claims="([^"]+)"$`)
	challenge := pattern.FindStringSubmatch(header.Get("WWW-Authenticate"))
	require.Len(t, challenge, 2)
	decoded, err := base64.StdEncoding.DecodeString(challenge[1])
	require.NoError(t, err)
	var claims struct {
		AccessToken struct {
			NotBefore struct {
				Essential bool
				Value     string
			} `json:"nbf"`
		} `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal(decoded, &claims))
	require.True(t, claims.AccessToken.NotBefore.Essential)
	require.Regexp(t, `^\d{10}$`, claims.AccessToken.NotBefore.Value)
}
