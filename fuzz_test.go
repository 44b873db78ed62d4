package managedid

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/internal/text"
	"github.com/managedid/managedid/internal/tokens"
)

// july2017 lies before each expiry in testdata/answers.
var july2017 = time.Unix(1_500_000_000, 0).UTC()

// answers reads testdata/answers, by file name.
func answers(tb testing.TB) map[string][]byte {
	tb.Helper()
	files, err := filepath.Glob("testdata/answers/*.json")
	require.NoError(tb, err)
	require.NotEmpty(tb, files)
	bodies := map[string][]byte{}
	for _, f := range files {
		body, err := os.ReadFile(f)
		require.NoError(tb, err)
		bodies[filepath.Base(f)] = body
	}
	return bodies
}

// FuzzToken: a token is due within its life, and taken for the identity that its answer names, and for no other.
func FuzzToken(f *testing.F) {
	recorded := answers(f)
	for _, name := range slices.Sorted(maps.Keys(recorded)) {
		f.Add(recorded[name], int64(0))
		f.Add(append([]byte("\xef\xbb\xbf"), recorded[name]...), int64(120))
	}
	for _, s := range []string{`"1740272916"`, `1500000002`, `"9999-12-31T23:59:59-14:00"`, `1`, `2`, `300`, `600`, `86400`} {
		f.Add([]byte(withToken(`,"expires_on":`+s)), int64(1))
		f.Add([]byte(withToken(`,"expires_in":`+s+`,"refresh_in":`+s)), int64(1))
		f.Add([]byte(withToken(`,"expires_in":86400,"client_id":"`+someGUID+`","refresh_in":`+s)), int64(1))
	}
	f.Fuzz(func(t *testing.T, body []byte, tookSeconds int64) {
		now := july2017.Add(time.Duration(uint64(tookSeconds)%180) * time.Second)
		var got tokens.Token
		var err error
		if got.AccessToken, got.ClientID, err = answer.Decode(body, "", july2017, now); err != nil {
			return
		}
		requireOwn(t, body)
		plan := got.Planned(now, tokens.DefaultRefreshBefore)
		require.True(t, plan.Due().After(now))
		require.False(t, plan.Due().After(plan.ExpiresOn))
		require.Equal(t, tokens.Fresh, plan.Freshness(now))
	})
}

// requireOwn checks that a token is taken for the identity that its answer names, and for no other.
func requireOwn(t *testing.T, body []byte) {
	t.Helper()
	var fields map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(text.WithoutBOM(body), &fields))
	var echo string
	if json.Unmarshal(fields["client_id"], &echo) == nil && echo != "" {
		require.NoError(t, confirmClientID(body, ClientID(echo)))
		err := confirmClientID(body, ClientID(echo+"0"))
		require.Error(t, err)
		require.Equal(t, ReasonMalformedAnswer, err.(verdict).reason)
	}
}

func nonEmpty(secret string) []string {
	if secret == "" {
		return nil
	}
	return []string{secret}
}

// FuzzClassify: whatever an endpoint says, each source has an advice for it, of one line and without the secret.
func FuzzClassify(f *testing.F) {
	recorded := answers(f)
	for _, name := range slices.Sorted(maps.Keys(recorded)) {
		f.Add(400, recorded[name], "")
		f.Add(200, recorded[name], secretToken)
	}
	for _, s := range []string{`{"error":"a\nb","error_description":"first\r\nsecond\tthird\u0000"}`, `{"error":{"code":"c","message":"m"},"error_description":"d"}`,
		`{"error_description":"AADSTS500011: nobody. Trace ID: 1 Timestamp: 2"}`, `{"error_description":"a\r\nTrace\nID: 1"}`, `{"error_description":"outside. Current  time: 1"}`, `{"message":"` + strings.Repeat("é", 1000) + `"}`,
		`{"error":1,"message":{}}`, `null`, `{"error":null}`, `{"error":"\u0085\u009b31m","message":"\u2028\u2029"}`} {
		f.Add(500, []byte(s), "AADSTS500011")
		f.Add(204, []byte("\xef\xbb\xbf"+s), "first\r\nsecond")
		f.Add(400, []byte(s), "first second")
	}
	explains := []func(answer.Answer) verdict{func(a answer.Answer) verdict { return (&entra{}).classify(a, someTenant) }}
	id := ClientID(someGUID)
	for _, explain := range []func(answer.Answer) verdict{classifyCloudShell, classifyServiceFabric,
		func(a answer.Answer) verdict { return classifyIMDS(a, id) }, func(a answer.Answer) verdict { return classifyArc(a, id) },
		func(a answer.Answer) verdict { return classifyAzureML(a, id) }, func(a answer.Answer) verdict { return classifyAppService(a, "IDENTITY_HEADER", id) }} {
		s := &source{classify: explain}
		managed(s)
		explains = append(explains, s.classify)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte, secret string) {
		a := answer.Read(respond(&http.Request{}, status, string(body)), nonEmpty(secret)...)
		for _, explain := range explains {
			v := explain(a)
			testkit.RequireLine(t, v.advice, secret)
			require.NotEmpty(t, v.advice)
		}
	})
}

// FuzzArcChallenge: whatever is in the header, no file but a key in the folder is read, and no error has any of it.
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
			testkit.RequireLine(t, line, key, "c4n4ry")
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
			testkit.RequireLine(t, err.Error(), "")
			return
		}
		host := u.Host
		if u.Host, err = regionalHost(host, region); err != nil {
			testkit.RequireLine(t, err.Error(), "")
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
		req, err := e.source(tenant).request(t.Context(), tokenParams{scope: vault})
		require.NoError(t, err)
		require.Equal(t, sent.String(), req.Raw().URL.String())
		require.Equal(t, "https", sent.Scheme)
		require.Equal(t, u.Host, sent.Host)
		require.Nil(t, sent.User)
		require.Empty(t, sent.RawQuery+sent.Fragment)
		require.Regexp(t, `(^|/)`+strings.ReplaceAll(tenant, ".", `\.`)+`/oauth2/(v2\.0/)?token$`, sent.Path)
	})
}

// FuzzManagedEndpoint: whatever the host's variables and the options say, a request goes to the host that was named,
// with the identity, the resource and the version once each.
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
			testkit.RequireLine(t, err.Error(), thumbprint)
		}
		normal, err := managedScope([]string{scope})
		if err != nil {
			testkit.RequireLine(t, err.Error(), "")
			return
		}
		again, err := managedScope([]string{normal})
		require.NoError(t, err)
		require.Equal(t, normal, again, "a scope and its normal form share a token")
		u, err := parseEndpoint("IDENTITY_ENDPOINT", endpoint)
		if err != nil {
			testkit.RequireLine(t, err.Error(), "")
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
	req, err := s.request(t.Context(), tokenParams{scope: vault})
	require.NoError(t, err)
	require.Equal(t, u.Host, req.Raw().URL.Host)
	require.Equal(t, strings.TrimRight(u.Path, "/")+"/metadata/identity/oauth2/token", req.Raw().URL.Path)
}

func credentialNamed(who string) *credential {
	return &credential{requester: &requester{who: who, source: &source{}}}
}

// FuzzRequestClaims: a request has all of the challenge, and the capability where the caller has it.
func FuzzRequestClaims(f *testing.F) {
	for _, s := range []string{"", claimsA, claimsB, `{"access_token":{"xms_cc":{"values":["CP2"]},"nbf":{"essential":true,"value":"1"}}}`, `{"access_token":null}`,
		`{"access_token":{"xms_cc":[]}}`, `{"access_token":{},"access_token":{"a":1}}`, ` {"id_token":{"x":1e400}}` + "\n", `[]`, `{`, `"a"`, "\ufeff{}", `{"a":"\ud800"}`} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, challenge string, cae bool) {
		got, err := requestClaims(tokenParams{claims: challenge, cae: cae})
		var want, has map[string]any
		object := challenge == "" || decodeObject(challenge, &want) == nil && want != nil
		if err != nil {
			testkit.RequireLine(t, err.Error(), challenge)
			require.True(t, cae || !object, "a challenge was refused")
			return
		}
		require.True(t, object, "what is no challenge was sent")
		if !cae {
			require.Equal(t, challenge, got)
			return
		}
		require.NoError(t, decodeObject(got, &has))
		require.Equal(t, []any{"CP1"}, has["access_token"].(map[string]any)["xms_cc"].(map[string]any)["values"])
		for _, o := range []map[string]any{want, has} { // the rest is as it was
			if member, ok := o["access_token"].(map[string]any); ok {
				if capability, ok := member["xms_cc"].(map[string]any); ok {
					if delete(capability, "values"); len(capability) == 0 {
						delete(member, "xms_cc")
					}
				}
				if len(member) == 0 {
					delete(o, "access_token")
				}
			}
		}
		require.True(t, len(want)+len(has) == 0 || reflect.DeepEqual(want, has), "%q became %q", challenge, got)
		again, err := requestClaims(tokenParams{claims: got, cae: true})
		require.NoError(t, err)
		require.Equal(t, got, again)
	})
}

// decodeObject keeps numbers as they are written.
func decodeObject(s string, into *map[string]any) error {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	if !json.Valid([]byte(s)) {
		return errors.New("something follows")
	}
	return nil
}

// FuzzTools: what az and azd write becomes a token or one line, and nothing that a request names becomes an option.
func FuzzTools(f *testing.F) {
	for _, s := range []string{`{"accessToken":"t0k3n","expires_on":1740272916,"expiresOn":"2025-02-23 01:08:36.000000","tenant":"t"}`,
		`{"accessToken":"t0k3n","expiresOn":"2025-02-23 01:08:36.000000"}`, `{"token":"t0k3n","expiresOn":"2025-02-23T01:08:36Z"}`,
		`{"type":"consoleMessage","data":{"message":"\nERROR: not logged in, run 'azd auth login'\n"}}` + "\n{}", `{"error":"fetching token: AADSTS50076: x"}`,
		"ERROR: Please run 'az login' to setup account.\n", "\x1b[31mERROR\x1b[0m: AADSTS700082\r\nTo re-authenticate", `{"accessToken":"t","expires_on":9223372036854775807}`,
		`{"accessToken":"a\nb","expires_on":1740272916}`, `{"accessToken":"t","expires_on":253402300800}`, `{"token":"t","expiresOn":"9999-12-31T23:59:59-14:00"}`} {
		f.Add([]byte(s), vault, someTenant, claimsA)
		f.Add([]byte(s), vault, someTenant, "")
		f.Add([]byte(s), "--help", "-h", "")
		f.Add([]byte(s), "a/.default --output=x;y", "", "{}")
	}
	f.Fuzz(func(t *testing.T, output []byte, scope, tenant, claims string) {
		for _, tool := range []tool{{decode: decodeAzureCLI, message: func(s string) string { return s }}, {decode: decodeAzureDeveloperCLI, message: messageOfAzureDeveloperCLI}} {
			got, err := tool.read(output, july2017)
			if err != nil {
				testkit.RequireLine(t, err.Error(), string(output))
				require.Zero(t, got)
			} else {
				requireUsable(t, got, july2017)
			}
			testkit.RequireLine(t, text.Quote(tool.message(string(output))), "")
		}
		a := tokenParams{scope: scope, claims: claims}
		if (tenant != "" && !validTenant(tenant)) || strings.ContainsFunc(scope, func(r rune) bool { return r != ' ' && notInScope(r) }) {
			return
		}
		for _, arguments := range []func(tokenParams, string) ([]string, error){azureDeveloperCLIArguments, func(a tokenParams, tenant string) ([]string, error) { return azureCLIArguments(a, tenant, "") }} {
			given, err := arguments(a, tenant)
			if err != nil {
				require.Equal(t, text.Line(err.Error()), err.Error()) // as long as the challenge that it has
				continue
			}
			require.Contains(t, given, "--output=json")
			for _, argument := range given[2:] {
				name, value, _ := strings.Cut(argument, "=")
				require.True(t, slices.Contains([]string{"--output", "--no-prompt", "--resource", "--scope", "--tenant", "--tenant-id", "--claims"}, name), argument)
				require.NotContains(t, value, " ")
				switch name {
				case "--resource":
					require.True(t, scope == value || scope == value+defaultSuffix, argument)
				case "--scope":
					require.Contains(t, strings.Fields(scope), value)
				case "--tenant", "--tenant-id":
					require.Equal(t, tenant, value)
				case "--claims":
					decoded, err := base64.StdEncoding.DecodeString(value)
					require.NoError(t, err)
					require.Equal(t, claims, string(decoded))
				}
			}
		}
	})
}

// requireUsable checks a token that was accepted.
func requireUsable(t *testing.T, got tokens.Token, now time.Time) {
	t.Helper()
	require.NotEmpty(t, got.Token)
	require.False(t, strings.ContainsFunc(got.Token, func(r rune) bool { return r <= ' ' || r > '~' }), "it can't be in a header")
	require.Equal(t, time.UTC, got.ExpiresOn.Location())
	require.True(t, got.ExpiresOn.After(now))
	require.LessOrEqual(t, got.ExpiresOn.Year(), 9999, "encoding/json refuses later years")
}
