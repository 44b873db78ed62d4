package text

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIsGUID(t *testing.T) {
	for _, row := range []struct {
		name, in string
		want     bool
	}{
		{"zeros", "00000000-0000-0000-0000-000000000000", true},
		{"lower case", "9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d816", true},
		{"upper case", "9F3C1E52-8A47-4F6E-B1D0-2C7A5E94D816", true},
		{"the ends of each range", "09afAF09-09af-09AF-09af-09AFaf09afAF", true},
		{"nothing", "", false},
		{"a digit less", "9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d81", false},
		{"a digit more", "9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d8160", false},
		{"in braces", "{9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d816}", false},
		{"without hyphens", "9f3c1e528a474f6eb1d02c7a5e94d816", false},
		{"36 digits", strings.Repeat("0", 36), false},
		{"36 hyphens", strings.Repeat("-", 36), false},
		{"a hyphen elsewhere", "9f3c1e5-28a47-4f6e-b1d0-2c7a5e94d816", false},
		{"a hyphen more", "9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d-16", false},
		{"g", "9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d81g", false},
		{"a slash, which comes before 0", "9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d81/", false},
		{"a sign of two bytes", "9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d8é", false},
		{"a byte that is no UTF-8", "9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d81\xff", false},
		{"a blank behind", "9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d81 ", false},
	} {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.want, IsGUID(row.in)) })
	}
}

func TestPath_showsNothingElse(t *testing.T) {
	for _, row := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"of Linux", "/var/run/secrets/azure/token", "/var/run/secrets/azure/token"},
		{"of Windows", `C:\Program Files\a b.pem`, `C:\Program Files\a b.pem`},
		{"in another script", "/ключ/é.pem", "/ключ/é.pem"},
		{"400 bytes", "/" + strings.Repeat("p", 399), "/" + strings.Repeat("p", 399)},
		{"401 bytes", "/" + strings.Repeat("p", 400), NotAPath},
		{"PEM", "-----BEGIN PRIVATE KEY-----AAAA", NotAPath},
		{"PEM behind something", "x -----BEGIN CERTIFICATE-----", NotAPath},
		{"four hyphens", "----BEGIN", "----BEGIN"},
		{"a line break", "/a\nb", NotAPath},
		{"a tab", "/a\tb", NotAPath},
		{"a NUL", "/a\x00", NotAPath},
		{"a control character beyond ASCII", "/a\u0085b", NotAPath},
		{"a JWT", jwtLike, NotAPath},
		{"a JWT in a path", "/tmp/" + jwtLike, NotAPath},
		{"a mark of direction", "/a\u202eb", "/a b"},
		{"bytes that are no UTF-8", "/a\xff", "/a\ufffd"},
	} {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.want, Path(row.in)) })
	}
}

func TestURL_showsNoSecret(t *testing.T) {
	for _, row := range []struct{ name, in, want string }{
		{"http", "http://169.254.169.254/metadata/identity", "http://169.254.169.254/metadata/identity"},
		{"https with a port", "https://localhost:2377/a", "https://localhost:2377/a"},
		{"the scheme in upper case", "HTTP://localhost/", "http://localhost/"},
		{"a host alone", "http://localhost", "http://localhost"},
		{"IPv6", "http://[::1]:80/", "http://[::1]:80/"},
		{"an escaped path", "http://a/b%2Fc", "http://a/b%2Fc"},
		{"a query", "http://a/b?code=s3cr3t", "http://a/b?…"},
		{"a fragment", "http://a/b#s3cr3t", "http://a/b?…"},
		{"both", "http://a/b?s3cr3t#s3cr3t", "http://a/b?…"},
		{"an empty query", "http://a/b?", "http://a/b"},
		{"a user", "http://s3cr3t@a/b", ""},
		{"a user with a password", "http://user:s3cr3t@a/b", ""},
		{"a JWT in the path", "http://a/" + jwtLike, "http://a/REDACTED"},
		{"another scheme", "ftp://a/b", ""},
		{"no scheme", "a/b", ""},
		{"no scheme, but a host", "//a/b", ""},
		{"no host", "http:///b", ""},
		{"an opaque one", "http:s3cr3t", ""},
		{"no URL", "http://a/%zz", ""},
		{"a line break", "http://a/\nb", ""},
		{"nothing", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.want, URL(row.in)) })
	}
}

func TestID_showsGUIDsAndResourceIDs(t *testing.T) {
	const resource = "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/a/providers/Microsoft.ManagedIdentity/userAssignedIdentities/b"
	for _, row := range []struct{ name, in, want string }{
		{"a GUID", "9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d816", "9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d816"},
		{"a resource ID", resource, resource},
		{"a resource ID in upper case", strings.ToUpper(resource), strings.ToUpper(resource)},
		{"a resource ID of two lines", "/subscriptions/a\nb", "/subscriptions/a b"},
		{"a JWT in a resource ID", "/subscriptions/" + jwtLike, "/subscriptions/REDACTED"},
		{"a resource ID without the first slash", strings.TrimPrefix(resource, "/"), NotAnID},
		{"a resource ID behind something", "x" + resource, NotAnID},
		{"a secret", "s3cr3t~abc", NotAnID},
		{"a secret as long as a GUID", strings.Repeat("s", 36), NotAnID},
		{"nothing", "", NotAnID},
	} {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.want, ID(row.in)) })
	}
}
