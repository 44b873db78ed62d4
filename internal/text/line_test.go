package text

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const jwtLike = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtYWRlIHVwIn0.c2ln"

func TestLine_isOne(t *testing.T) {
	for _, row := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"a line", "a b", "a b"},
		{"of other scripts", "é 語 😀", "é 語 😀"},
		{"line breaks", "a\nb\r\nc", "a b c"},
		{"line breaks of Unicode", "a\u2028b\u2029c\u0085d", "a b c d"},
		{"control characters", "a\x00b\x1b[31mc\x7fd\u009be", "a b [31mc d e"},
		{"marks of direction", "a\u202eb\u2066c\u200ed", "a b c d"},
		{"blanks of other widths", "a\tb\u00a0c\u3000d", "a b c d"},
		{"blanks around, and several", "  a \n\t b  ", "a b"},
		{"only blanks", " \r\n\t", ""},
		{"bytes that are no UTF-8", "a\xffb\xc3", "a\ufffdb\ufffd"},
		{"a JWT", "for " + jwtLike + ", no", "for REDACTED, no"},
	} {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.want, Line(row.in)) })
	}
}

func TestWithoutBOM_takesOneOff(t *testing.T) {
	for _, row := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"none", "{}", "{}"},
		{"one", "\xef\xbb\xbf{}", "{}"},
		{"one alone", "\xef\xbb\xbf", ""},
		{"half of one", "\xef\xbb{}", "\xef\xbb{}"},
		{"two", "\xef\xbb\xbf\xef\xbb\xbf{}", "\xef\xbb\xbf{}"},
		{"one in the midst", "{\xef\xbb\xbf}", "{\xef\xbb\xbf}"},
	} {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.want, string(WithoutBOM([]byte(row.in)))) })
	}
}

func TestQuote_cutsAt400Bytes(t *testing.T) {
	a := func(n int) string { return strings.Repeat("a", n) }
	for _, row := range []struct{ name, in, want string }{
		{"399 bytes", a(399), a(399)},
		{"400 bytes", a(400), a(400)},
		{"401 bytes", a(401), a(400) + "…"},
		{"a megabyte", a(1 << 20), a(400) + "…"},
		{"400 bytes of two each", strings.Repeat("é", 200), strings.Repeat("é", 200)},
		{"a rune across the end", a(399) + "é", a(399) + "…"},
		{"a rune across the end, by its last byte", a(398) + "語", a(398) + "…"},
		{"a rune up to the end", a(397) + "語", a(397) + "語"},
		{"a rune up to the end, and more", a(397) + "語b", a(397) + "語…"},
		{"bytes that are no UTF-8 across the end", a(399) + "\xff\xff", a(399) + "…"},
		{"bytes that are no UTF-8 up to the end", a(397) + "\xff", a(397) + "\ufffd"},
		{"blanks are not counted", "  " + a(200) + "\r\n\r\n" + a(199) + "  ", a(200) + " " + a(199)},
		{"nor what comes after the IDs", a(400) + " Trace ID: 1", a(400)},
	} {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.want, Quote(row.in)) })
	}
}

func TestQuote_isTheSameEachTime(t *testing.T) {
	for _, row := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"neither", "AADSTS1: It is wrong.", "AADSTS1: It is wrong."},
		{"identifiers", "AADSTS1: It is wrong. Trace ID: 1 Correlation ID: 2 Timestamp: 3", "AADSTS1: It is wrong."},
		{"identifiers in lines of their own", "AADSTS1: It is wrong.\r\nTrace ID: 1\r\nTimestamp: 3", "AADSTS1: It is wrong."},
		{"a time", "It is outside. Current time: 2025-02-23T01:08:36Z, expiry 2", "It is outside."},
		{"both", "It is outside. Current time: 1 Trace ID: 2", "It is outside."},
		{"both, the other first", "It is outside. Trace ID: 2 Current time: 1", "It is outside."},
		{"a line break in a name", "a. Trace\nID: 1", "a."},
		{"blanks in a name", "a. Current \t time: 1", "a."},
		{"identifiers alone", "Trace ID: 1", ""},
		{"another case", "a. trace id: 1", "a. trace id: 1"},
	} {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.want, Quote(row.in)) })
	}
}

func TestQuote_hasNoSecret(t *testing.T) {
	for _, row := range []struct {
		name, in string
		secrets  []string
		want     string
	}{
		{"none is there", "no word of it", []string{"s3cr3t"}, "no word of it"},
		{"as it is", "it is s3cr3t.", []string{"s3cr3t"}, "it is REDACTED."},
		{"each time", "s3cr3t s3cr3t", []string{"s3cr3t"}, "REDACTED REDACTED"},
		{"the second of two", "it is 0ther.", []string{"s3cr3t", "0ther"}, "it is REDACTED."},
		{"with a line break, which becomes a blank", "it is first\r\nsecond.", []string{"first\r\nsecond"}, "it is REDACTED."},
		{"with a blank, where there is a line break", "it is first\r\n\tsecond.", []string{"first second"}, "it is REDACTED."},
		{"with the sign of what is no UTF-8", "it is a\xffb.", []string{"a\ufffdb"}, "it is REDACTED."},
		{"a byte of that sign", "\xa9", []string{"\xbf"}, "\ufffdREDACTED\ufffd"},
		{"across the limit", strings.Repeat("a", 395) + "s3cr3t", []string{"s3cr3t"}, strings.Repeat("a", 395) + "REDAC…"},
		{"a JWT", "it is " + jwtLike + ".", nil, "it is REDACTED"},
		{"a JWT across the limit", strings.Repeat("a ", 198) + jwtLike, nil, strings.Repeat("a ", 198) + "REDA…"},
	} {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.want, Quote(row.in, row.secrets...)) })
	}
}
