package managedid

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/tokens"
)

// requireLine checks a text that goes into an error: one printable line of bounded length, without the secrets. Those are
// looked for from eight bytes on, since a shorter one may be in any text.
func requireLine(t *testing.T, line string, secrets ...string) {
	t.Helper()
	require.Less(t, len(line), 2000)
	require.True(t, utf8.ValidString(line))
	require.False(t, strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }), "%q is more than a line", line)
	for _, s := range secrets {
		require.False(t, len(s) >= 8 && strings.Contains(line, s), "a secret is in the error")
	}
}

func credentialNamed(who string) *credential { return &credential{who: who, source: &source{}} }

// FuzzRequestClaims: a request has all of the challenge, and the capability where the caller has it.
func FuzzRequestClaims(f *testing.F) {
	for _, s := range []string{"", claimsA, claimsB, `{"access_token":{"xms_cc":{"values":["CP2"]},"nbf":{"essential":true,"value":"1"}}}`, `{"access_token":null}`,
		`{"access_token":{"xms_cc":[]}}`, `{"access_token":{},"access_token":{"a":1}}`, ` {"id_token":{"x":1e400}}` + "\n", `[]`, `{`, `"a"`, "\ufeff{}", `{"a":"\ud800"}`} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, challenge string, cae bool) {
		got, err := requestClaims(ask{claims: challenge, cae: cae})
		var want, has map[string]any
		object := challenge == "" || decodeObject(challenge, &want) == nil && want != nil
		if err != nil {
			requireLine(t, err.Error(), challenge)
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
		again, err := requestClaims(ask{claims: got, cae: true})
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
		for _, tool := range []tool{{decode: decodeAzureCLI, explain: func(s string) string { return s }}, {decode: decodeAzureDeveloperCLI, explain: explainAzureDeveloperCLI}} {
			got, err := tool.read(output, july2017)
			if err != nil {
				requireLine(t, err.Error(), string(output))
				require.Zero(t, got)
			} else {
				requireUsable(t, got, july2017)
			}
			requireLine(t, quotable(tool.explain(string(output))), "")
		}
		a := ask{scope: scope, claims: claims}
		if (tenant != "" && !validTenant(tenant)) || strings.ContainsFunc(scope, func(r rune) bool { return r != ' ' && notInScope(r) }) {
			return
		}
		for _, arguments := range []func(ask, string) ([]string, error){azureDeveloperCLIArguments, func(a ask, tenant string) ([]string, error) { return azureCLIArguments(a, tenant, "") }} {
			given, err := arguments(a, tenant)
			if err != nil {
				require.Equal(t, oneLine(err.Error()), err.Error()) // as long as the challenge that it has
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
