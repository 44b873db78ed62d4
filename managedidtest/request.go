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
	Time     time.Time // when the request arrived
	Endpoint Endpoint  // zero: the path is not emulated
	Method   string
	Host     string // as in the request
	Path     string
	Query    url.Values
	Header   http.Header `json:"-"` // as received, including a secret
	Form     url.Values  `json:"-"` // of the body of a POST, including a secret or an assertion; nil: none
	Resource string      // the resource of the requested token
	Identity string      // client ID of the identity or application that got a token; zero: none
	// Status is zero if there is no answer yet, if the connection was reset, or if the client left first.
	Status int
	Fault  bool // an injected fault affected the answer
}

// String returns one line without headers, tokens and secrets.
func (r Request) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", r.Time.UTC().Format("15:04:05.000"), clean(r.Method),
		(&url.URL{Path: r.Path}).EscapedPath())
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

// GoString is the same as String, so %#v shows no header either.
func (r Request) GoString() string { return r.String() }

func (r *Request) clone() Request {
	c := *r
	c.Header = r.Header.Clone()
	c.Query = clone(r.Query)
	c.Form = clone(r.Form)
	return c
}

func clone(v url.Values) url.Values { return url.Values(http.Header(v).Clone()) }

// requested returns the resource in the query or the form of a request, or in the scope of the form.
func requested(query, form url.Values) string {
	if scopes := resourceScopes(form.Get("scope")); len(scopes) > 0 {
		return strings.TrimSuffix(scopes[0], "/.default")
	}
	return cmp.Or(query.Get("resource"), form.Get("resource"))
}

// clean replaces spaces and unprintable characters by "?", so that a value stays on its line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
