package text

import (
	"net/url"
	"strings"
	"unicode"
)

// IsGUID reports whether a text has the form 00000000-0000-0000-0000-000000000000, with digits in upper or lower case.
func IsGUID(s string) bool {
	if len(s) != len("00000000-0000-0000-0000-000000000000") {
		return false
	}
	for i, c := range s {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", c) {
			return false
		}
	}
	return true
}

// NotAPath replaces a text that is not a path.
const NotAPath = "(not a path, so not shown)"

// Path returns a path as a part of one line. It returns NotAPath if the text is something else, perhaps a key or a
// token.
func Path(path string) string {
	if len(path) > 400 || strings.Contains(path, "-----BEGIN") || strings.ContainsFunc(path, unicode.IsControl) ||
		HasJWT(path) {
		return NotAPath
	}
	return Line(path)
}

// URL returns a URL as a part of one line, without its query and fragment, which may contain a key. It returns "" for a
// text that is not an http or https URL, and for a URL with a user.
func URL(value string) string {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return ""
	}
	shown := Line((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String())
	if u.RawQuery != "" || u.Fragment != "" {
		shown += "?…"
	}
	return shown
}

// NotAnID replaces a text that is not an ID.
const NotAnID = "(not an ID, so not shown)"

// ID returns the ID of an identity, a GUID or a resource ID, as a part of one line. It returns NotAnID if the text is
// something else, perhaps a secret.
func ID(id string) string {
	if IsGUID(id) || strings.HasPrefix(strings.ToLower(id), "/subscriptions/") {
		return Line(id)
	}
	return NotAnID
}
