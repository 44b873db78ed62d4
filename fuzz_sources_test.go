package managedid

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/stretchr/testify/require"
)

// FuzzArcChallenge: whatever is in the header, no file but a key in the folder is read, and no error has anything of it.
func FuzzArcChallenge(f *testing.F) {
	const key, outside = "c4n4ry/k3y+of=the~agent", "c4n4ry outside of the folder"
	root := f.TempDir() // each process that fuzzes has another, so that inputs have $ for it
	folder := filepath.Join(root, "tokens")
	keys := map[string]bool{}
	require.NoError(f, os.MkdirAll(filepath.Join(folder, "sub.key"), 0o700))
	for name, content := range map[string]string{"1.key": key, "2.key": key + "\r\n", "1.txt": outside, "../1.key": outside, "sub.key/1.key": outside,
		"..key": key, "3.key": key + strings.Repeat("k", maxArcKey), "4.key": key + "\x7f"} {
		path := filepath.Join(folder, name)
		require.NoError(f, os.WriteFile(path, []byte(content), 0o600))
		keys[path] = name == "1.key" || name == "2.key"
		f.Add(401, "Basic realm=$/tokens/"+name, "")
		f.Add(401, "Negotiate", "basic REALM=$/tokens/"+name)
		f.Add(401, `Basic realm="$/tokens/`+name+`"`, "")
		f.Add(200, "Basic realm=$/tokens/"+name, "")
		f.Add(401, "Basic realm=$/tokens/sub/../"+name, "Basic realm=$/tokens/"+name)
	}
	f.Add(401, "Basic realm=$/tokens/\x00.key", "Basic realm=")
	f.Add(401, "Basic realm=$/1.key", "")
	in := keysIn(folder)
	f.Fuzz(func(t *testing.T, status int, first, second string) {
		first, second = strings.ReplaceAll(first, "$", root), strings.ReplaceAll(second, "$", root)
		got := &http.Response{StatusCode: status, Header: http.Header{"Www-Authenticate": {first, second}}}
		read, err := arcChallenge(got, in)
		if read != "" {
			require.NoError(t, err)
			require.Equal(t, http.StatusUnauthorized, status)
			path := first
			if len(first) < 12 || !strings.EqualFold(first[:12], "Basic realm=") {
				path = second
			}
			require.True(t, keys[path[12:]] && read == key, "another file was read")
		}
		if err != nil {
			line := credentialNamed("x").unable(err).Error()
			requireLine(t, line, key, "c4n4ry")
			require.NotContains(t, strings.ReplaceAll(line, folder, ""), ".key/")
		}
	})
}

// FuzzTokenURL: whatever names the authority, the region, the tenant and the scopes, the secret goes to that authority
// and to that tenant, over TLS.
func FuzzTokenURL(f *testing.F) {
	for _, authority := range []string{"https://login.microsoftonline.com/", "https://LOGIN.microsoftonline.us", "https://adfs.contoso.com:8443/x/../adfs/%2e%2e/",
		"http://login.microsoftonline.com", "https://a@b/", "https://a/?q", "https://a/#f", "https:a", "//a", "https://[::1]:1/", "https://login.microsoftonline.com:/", "https://a\\b", "https://a%2fb/", "https://é/"} {
		f.Add(authority, someTenant, "", vault, "")
		f.Add(authority, "adfs", "westus2", "a b", vault)
		f.Add(authority, "..", "TryAutoDetect", "", "")
		f.Add(authority, "a/../b", "a.b", vault, "\n")
	}
	f.Fuzz(func(t *testing.T, authority, tenant, region, scope, another string) {
		u, err := authorityHost(cloud.Configuration{ActiveDirectoryAuthorityHost: authority})
		if authority != "" && err != nil {
			requireLine(t, err.Error(), "")
			return
		}
		host := u.Host
		if u.Host, err = regionalHost(host, region); err != nil {
			requireLine(t, err.Error(), "")
			return
		}
		require.True(t, u.Host == host || region != "" && strings.HasPrefix(u.Host, region+".") && isRegion(region))
		if joined, err := entraScope([]string{scope, another}); err == nil {
			require.Equal(t, scope+" "+another, joined)
		} else {
			require.True(t, scope == "" || another == "")
		}
		if !validTenant(tenant) {
			return
		}
		e := &entra{entraConfig: entraConfig{tenantID: tenant, clientID: someClient}, name: nameClientSecret, authority: u}
		var sent *url.URL
		e.proof = proof{parameter: secretParameter, read: func(_ context.Context, tokenURL string) (string, error) {
			sent, err = url.Parse(tokenURL)
			return someSecret, err
		}}
		req, err := e.source(tenant).request(t.Context(), ask{scope: vault})
		require.NoError(t, err)
		require.Equal(t, sent.String(), req.Raw().URL.String())
		require.Equal(t, "https", sent.Scheme)
		require.Equal(t, u.Host, sent.Host)
		require.Nil(t, sent.User)
		require.Empty(t, sent.RawQuery+sent.Fragment)
		require.Regexp(t, `(^|/)`+strings.ReplaceAll(tenant, ".", `\.`)+`/oauth2/(v2\.0/)?token$`, sent.Path)
	})
}

// FuzzManagedEndpoint: whatever the host's variables and the options say, a request goes to the host that was named, with
// the identity, the resource and the version once each.
func FuzzManagedEndpoint(f *testing.F) {
	for _, endpoint := range []string{"http://127.0.0.1:40342/metadata/identity/oauth2/token", "http://localhost:50342/oauth2/token?resource=x&client_id=y",
		"https://localhost:2377/metadata?api-version=1", "http://[fe80::1%25eth0]/", "http://a:b@c/", "http://a#f", "ftp://a", "http://", "", "http://a/;x=%zz", "http://a/?%zz&a;b", "http://a:/%2f/"} {
		f.Add(endpoint, someGUID, vault, "AA:bb "+strings.Repeat("0", 36))
		f.Add(endpoint, "a&resource=b#c", vault+defaultSuffix, strings.Repeat("f", 40))
		f.Add(endpoint, "", "é\n&", "00")
	}
	f.Fuzz(func(t *testing.T, endpoint, id, scope, thumbprint string) {
		if p, err := parsePin(thumbprint); err == nil {
			require.Len(t, p, sha1.Size)
			again, err := parsePin(strings.ToUpper(hex.EncodeToString(p[:])))
			require.NoError(t, err)
			require.Equal(t, p, again)
		} else {
			requireLine(t, err.Error(), thumbprint)
		}
		normal, err := managedScope([]string{scope})
		if err != nil {
			requireLine(t, err.Error(), "")
			return
		}
		again, err := managedScope([]string{normal})
		require.NoError(t, err)
		require.Equal(t, normal, again, "a scope and its normal form share a token")
		u, err := parseEndpoint("IDENTITY_ENDPOINT", endpoint)
		if err != nil {
			requireLine(t, err.Error(), "")
			return
		}
		if !strings.Contains(endpoint, "\x00") { // which no variable can have
			requireIMDSAt(t, u, endpoint)
		}
		sent, err := url.Parse(withIdentity(*u, "2019-08-01", normal, ClientID(id), [3]string{"client_id", "object_id", "mi_res_id"}))
		require.NoError(t, err)
		require.Equal(t, u.Host, sent.Host)
		require.Equal(t, u.EscapedPath(), sent.EscapedPath())
		require.Nil(t, sent.User)
		q := sent.Query()
		require.Equal(t, []string{"2019-08-01"}, q["api-version"])
		require.Equal(t, []string{id}, q["client_id"])
		require.Equal(t, []string{strings.TrimSuffix(normal, defaultSuffix)}, q["resource"])
	})
}

// requireIMDSAt checks that a variable moves IMDS to the host and below the path that it names.
func requireIMDSAt(t *testing.T, u *url.URL, variable string) {
	t.Helper()
	t.Setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", variable)
	s, err := imdsSource(nil)
	if u.RawQuery != "" {
		require.Error(t, err)
		return
	}
	require.NoError(t, err)
	req, err := s.request(t.Context(), ask{scope: vault})
	require.NoError(t, err)
	require.Equal(t, u.Host, req.Raw().URL.Host)
	require.Equal(t, strings.TrimRight(u.Path, "/")+"/metadata/identity/oauth2/token", req.Raw().URL.Path)
}
