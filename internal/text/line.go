package text

import (
	"bytes"
	"strings"
	"unicode"
)

// Line returns a text as a part of one line. It replaces what can't be printed with a space, and removes every JWT.
func Line(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(Redact(s), "\ufffd"),
		func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }), " ")
}

// WithoutBOM removes the byte order mark that some programs write before JSON and PEM.
func WithoutBOM(content []byte) []byte { return bytes.TrimPrefix(content, []byte("\xef\xbb\xbf")) }

// Quote returns what a server says as a part of one line, without the secrets and with at most 400 bytes. It cuts off
// everything after "Trace ID:" or "Current time:", because Entra puts identifiers and times there and the line must be
// the same each time. It looks for secrets in the line too, where a space may stand for a line break of the text.
func Quote(s string, secrets ...string) string {
	s = strings.ToValidUTF8(Redact(Line(Redact(s, secrets...)), secrets...), "\ufffd")
	s, _, _ = strings.Cut(s, "Trace ID:")
	s, _, _ = strings.Cut(s, "Current time:")
	s = strings.TrimSpace(s)
	const limit = 400
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
