package answer

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/managedid/managedid/internal/text"
)

// Answer is what an endpoint says, as far as an error may quote it.
type Answer struct {
	Status      int
	Header      http.Header
	OAuth       bool   // the answer has OAuth's "error" as a string (RFC 6749, section 5.2)
	Code        string // OAuth's error, or the code nested in it
	Description string // one line, without secrets
	Codes       []int  // Entra's error_codes
	IsToken     bool   // the answer has a field that only token answers have
	IsMetadata  bool   // the answer is an OpenID document, which names the token endpoint
}

// Read reads a response whose body is downloaded. Forms seen: {"error":"…","error_description":"…"} (IMDS, Entra),
// {"statusCode":400,"message":"…"} (App Service), {"error":{"code":"…","message":"…"}} (Service Fabric, Cloud Shell).
// The result contains none of the secrets, even if the endpoint repeats what it received.
func Read(resp *http.Response, secrets ...string) Answer {
	a := Answer{Status: resp.StatusCode, Header: resp.Header}
	body, err := runtime.Payload(resp)
	if err != nil {
		return a
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(text.WithoutBOM(body), &fields) != nil {
		return a
	}
	textOf := func(fields map[string]json.RawMessage, name string) (s string) {
		_ = json.Unmarshal(fields[name], &s)
		return s
	}
	for _, name := range []string{"access_token", "expires_in", "expires_on"} {
		_, has := fields[name]
		a.IsToken = a.IsToken || has
	}
	a.IsMetadata = textOf(fields, "token_endpoint") != ""
	a.Code, a.Description = textOf(fields, "error"), textOf(fields, "error_description")
	a.OAuth = a.Code != ""
	_ = json.Unmarshal(fields["error_codes"], &a.Codes)
	var nested map[string]json.RawMessage
	if json.Unmarshal(fields["error"], &nested) == nil && nested != nil {
		a.Code = textOf(nested, "code")
		if message := textOf(nested, "message"); message != "" {
			a.Description = message
		}
	}
	if a.Description == "" {
		a.Description = textOf(fields, "message")
	}
	a.Code, a.Description = text.Quote(a.Code, secrets...), text.Quote(a.Description, secrets...)
	return a
}

// String returns the part of an error's line that quotes the endpoint: "400 Bad Request, invalid_request: Identity not
// found".
func (a Answer) String() string {
	var b strings.Builder
	b.WriteString(StatusLine(a.Status))
	if a.Code != "" {
		b.WriteString(", " + a.Code)
	}
	if a.Description != "" && a.Status/100 != 2 {
		b.WriteString(": " + a.Description)
	}
	return b.String()
}

// StatusLine returns a status code with its text: "404 Not Found".
func StatusLine(code int) string {
	return strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code))
}

// Echoes compares an ID with the fields of these names in an answer. its reports whether a field equals the ID, and
// others whether a field has another value. Both are false if the answer has none of the fields.
func Echoes(body []byte, id string, names ...string) (its, others bool) {
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(text.WithoutBOM(body), &fields)
	for _, name := range names {
		var echo string
		if value, ok := fields[name]; ok && (json.Unmarshal(value, &echo) != nil || echo != "") {
			same := strings.EqualFold(echo, id)
			its, others = its || same, others || !same
		}
	}
	return its, others
}
