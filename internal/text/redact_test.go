package text

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRedact_takesOutSecretsAndJWTs(t *testing.T) {
	for _, row := range []struct {
		name, in string
		secrets  []string
		want     string
	}{
		{"nothing", "", nil, ""},
		{"no secret", "a\r\nb", nil, "a\r\nb"},
		{"a secret", "a s3cr3t b", []string{"s3cr3t"}, "a REDACTED b"},
		{"in another case", "a S3CR3T b", []string{"s3cr3t"}, "a S3CR3T b"},
		{"signs of regular expressions", "a.*(b", []string{".*("}, "aREDACTEDb"},
		{"two secrets, each twice", "x1x1 y2y2", []string{"x1", "y2"}, "REDACTEDREDACTED REDACTEDREDACTED"},
		{"a JWT", "Bearer " + jwtLike, nil, "Bearer REDACTED"},
		{"a JWT in brackets", "(" + jwtLike + ")", nil, "(REDACTED)"},
		{"a JWT and a secret", jwtLike + " s3cr3t", []string{"s3cr3t"}, "REDACTED REDACTED"},
		{"a secret that is a JWT", jwtLike, []string{jwtLike}, "REDACTED"},
		{"two JWTs", jwtLike + "," + jwtLike, nil, "REDACTED,REDACTED"},
	} {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.want, Redact(row.in, row.secrets...)) })
	}
}

func TestHasJWT_byItsHeader(t *testing.T) {
	for _, row := range []struct {
		name, in string
		want     bool
	}{
		{"nothing", "", false},
		{"three parts", jwtLike, true},
		{"in a path", "/var/run/" + jwtLike + "/x", true},
		{"a header and a dot", "eyJh.", true},
		{"a header alone", "eyJhbGciOiJub25lIn0", false},
		{"no header", "eyJ.eyJh.c", true}, // the second part is one
		{"no header, and nothing like one", "eyJ.abc.c", false},
		{"an array", "W10.eyJ", false},
		{"a sentence", "see eyJ. It is no token", false},
		{"signs of base64url", "eyJ_-.", true},
		{"signs of base64", "eyJ+/.", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			require.Equal(t, row.want, HasJWT(row.in))
			require.Equal(t, row.want, Redact(row.in) != row.in)
		})
	}
}

func TestSpellings_areThoseOfFormsURLsAndJSON(t *testing.T) {
	for _, row := range []struct {
		name    string
		secrets []string
		want    []string
	}{
		{"none", nil, nil},
		{"an empty one", []string{""}, nil},
		{"three bytes", []string{"abc"}, nil},
		{"four bytes", []string{"abcd"}, []string{"abcd", "abcd", "abcd", "abcd"}},
		{"four bytes of two signs", []string{"éé"}, []string{"éé", "%C3%A9%C3%A9", "%C3%A9%C3%A9", "éé"}},
		{"what needs an escape", []string{`a b/"+<`}, []string{`a b/"+<`, "a+b%2F%22%2B%3C", "a%20b%2F%22+%3C", `a b/\"+\u003c`}},
		{"a short one between two", []string{"1234", "abc", "5678"},
			[]string{"1234", "1234", "1234", "1234", "5678", "5678", "5678", "5678"}},
	} {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.want, Spellings(row.secrets...)) })
	}
}
