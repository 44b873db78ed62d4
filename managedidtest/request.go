package managedidtest

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// Request is an entry of the log.
type Request struct {
	Time     time.Time // of arrival
	Endpoint Endpoint  // zero: a path that is not emulated
	Method   string
	Host     string // as the client named it
	Path     string
	Query    url.Values
	Header   http.Header `json:"-"` // as received, with the secret if one was sent
	Form     url.Values  `json:"-"` // of a POST's body, with the secret or assertion if one was sent; nil: none
	Resource string      // for which a token was asked
	Identity string      // the client ID of the identity or application that got a token; zero: none did
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
		if v := cmp.Or(r.Query.Get(selector), r.Form.Get(selector)); v != "" {
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
	c.Query = clone(r.Query)
	c.Form = clone(r.Form)
	return c
}

func clone(v url.Values) url.Values { return url.Values(http.Header(v).Clone()) }

// requested returns the resource in a request's query or form, or in the scope of its form.
func requested(query, form url.Values) string {
	if scopes := resourceScopes(form.Get("scope")); len(scopes) > 0 {
		return strings.TrimSuffix(scopes[0], "/.default")
	}
	return cmp.Or(query.Get("resource"), form.Get("resource"))
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
