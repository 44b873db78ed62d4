package text

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
)

// Redact replaces the secrets in a text, and everything that looks like a JWT. A JWT begins with an object in base64
// (RFC 7519, section 3).
func Redact(s string, secrets ...string) string {
	for _, secret := range secrets {
		s = strings.ReplaceAll(s, secret, "REDACTED")
	}
	return jwt.ReplaceAllString(s, "REDACTED")
}

// HasJWT reports whether a text contains something that looks like a JWT.
func HasJWT(s string) bool { return jwt.MatchString(s) }

// Spellings returns the secrets as they are, and as a server may repeat them in a form, in a URL or in JSON. It leaves
// out a secret of three bytes or less, because too many words contain it.
func Spellings(secrets ...string) (all []string) {
	for _, s := range secrets {
		if len(s) > 3 {
			inJSON, _ := json.Marshal(s)
			all = append(all, s, url.QueryEscape(s), url.PathEscape(s), string(inJSON[1:len(inJSON)-1]))
		}
	}
	return all
}

var jwt = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]*`)
