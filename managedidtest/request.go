package managedidtest

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Request is an entry of the log.
type Request struct {
	Time     time.Time // of arrival
	Endpoint Endpoint  // zero: a path that is not emulated
	Method   string
	Path     string
	Query    url.Values
	Header   http.Header // as received, with the secret if one was sent
	Resource string      // for which a token was asked
	Identity string      // the client ID of the identity that answered; zero: none did
	Status   int         // zero: not answered yet, or never: the connection was reset, or the client had left
	Fault    bool        // an injected fault had a part in the answer
}

// String returns one line without headers, tokens and secrets.
func (r Request) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", r.Time.UTC().Format("15:04:05.000"), clean(r.Method), (&url.URL{Path: r.Path}).EscapedPath())
	if r.Resource != "" {
		fmt.Fprintf(&b, " resource=%s", clean(r.Resource))
	}
	for _, selector := range selectors {
		if v := r.Query.Get(selector); v != "" {
			fmt.Fprintf(&b, " %s=%s", selector, clean(v))
		}
	}
	if r.Status == 0 {
		b.WriteString(" no answer")
	} else {
		fmt.Fprintf(&b, " %d", r.Status)
	}
	if r.Identity != "" {
		fmt.Fprintf(&b, " identity=%s", clean(r.Identity))
	}
	if r.Fault {
		b.WriteString(" (fault)")
	}
	return b.String()
}

// GoString is String: %#v shows no header either.
func (r Request) GoString() string { return r.String() }

func (r *Request) clone() Request {
	c := *r
	c.Header = r.Header.Clone()
	c.Query = maps.Clone(r.Query)
	for k, v := range c.Query {
		c.Query[k] = slices.Clone(v)
	}
	return c
}

// clean keeps a value on its line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
