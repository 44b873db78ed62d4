package managedid

import (
	"cmp"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/managedid/managedid/internal/text"
)

// AuthenticationFailedError says that a credential is configured, but was refused or got no token. A chain stops at
// this error. It matches [context.Canceled] or [context.DeadlineExceeded] only if the context given to GetToken has
// ended.
type AuthenticationFailedError struct {
	// RawResponse is the last answer of the endpoint, with a body that the receiver may read. Its request has no body
	// and no secret headers. Nil means that there was no answer, or one with a 2xx status.
	RawResponse *http.Response `json:"-"`
	// Reason is the kind of failure. Zero means unknown.
	Reason Reason
	// Code is the endpoint's own name for the failure, for example "invalid_client". Zero means that the answer has
	// none.
	Code string `json:",omitempty"`
	// Description is what the endpoint says about the failure: one line of at most 400 bytes, without secrets. That of
	// Entra begins with the number of the failure, for example "AADSTS700016". Zero means that the answer has none.
	Description string `json:",omitempty"`
	// RetryAfter is the earliest time of the next request to the endpoint. Zero means that the endpoint doesn't
	// throttle.
	RetryAfter time.Time `json:",omitzero"`

	message  string
	cause    error                 // the error of the caller's context, or nil; so no other error matches it
	response func() *http.Response // makes the RawResponse of each copy
}

// Error returns one line. Its text is stable, because identifiers and times are only in fields. The line ends with the
// address that [Reason.Help] returns.
func (e *AuthenticationFailedError) Error() string {
	if e == nil { // a typed nil from a transport
		return "authentication failed"
	}
	return cmp.Or(e.message, "authentication failed") + e.Reason.see() // a program's own may have no message
}

// Unwrap returns the error of the caller's context if that has ended, else nil.
func (e *AuthenticationFailedError) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.cause
}

// NonRetriable marks the error for an SDK's retry policy, since this package has already retried the request.
func (*AuthenticationFailedError) NonRetriable() {}

// CredentialUnavailableError says that a credential is not configured, or that its endpoint is absent. A chain that
// gets this error asks its next link.
type CredentialUnavailableError struct {
	// Reason is the kind of failure. Zero means unknown.
	Reason Reason
	// Links has the error of each link, in order, if all links of a chain are unavailable. Nil means that it is not the
	// error of a chain.
	Links []error

	message    string
	unanswered string // why no answer came, or ""; a caller that knows the endpoint gets ReasonNotReady with it instead
	silent     bool   // only missing answers show that the endpoint is absent, which doesn't prove it
}

// NewCredentialUnavailableError returns the error by which a link that the program implements makes a chain go on. It
// has no Reason.
func NewCredentialUnavailableError(message string) error {
	return &CredentialUnavailableError{message: message}
}

// Error returns one line. That of a chain has the lines of its links, joined by "; ". If there is a Reason, the line
// ends with the address that [Reason.Help] returns.
func (e *CredentialUnavailableError) Error() string {
	if e == nil { // a typed nil from a transport
		return unavailableLine
	} else if e.Reason == "" && e.message != "" { // the error of a link that the program implements
		return e.message
	}
	return cmp.Or(e.message, unavailableLine) + e.Reason.see()
}

const unavailableLine = "the credential is unavailable"

// lineOf returns the line of an error without the address of its help, for use in the line of another error.
func lineOf(err error) string { return text.Line(seeHelp.ReplaceAllString(err.Error(), "")) }

// NonRetriable marks the error for an SDK's retry policy, since this package has already retried the request.
func (*CredentialUnavailableError) NonRetriable() {}

// misconfigured returns the error of a constructor.
func misconfigured(name, problem string) error {
	return &AuthenticationFailedError{Reason: ReasonConfiguration, message: name + ": " + problem}
}

// throttled returns the error for a caller that the pause outlasts. opens is the end of the pause.
func throttled(who string, opens time.Time) error {
	return &AuthenticationFailedError{Reason: ReasonThrottled, RetryAfter: opens,
		message: who + ": throttled by the endpoint until after the caller's deadline, or for over three minutes; " +
			"RetryAfter says until when"}
}

// notMade returns the error for a credential that is the zero value.
func notMade(name string) error {
	return misconfigured(name, "the zero value has no identity; make the credential with New"+name)
}

// copyError returns a copy of a shared error, with a body reader of its own, so that each receiver may change it.
func copyError(err error) error {
	switch e := err.(type) {
	case *AuthenticationFailedError:
		if e == nil {
			return &AuthenticationFailedError{}
		}
		c := *e
		if c.response != nil {
			c.RawResponse = c.response()
		}
		return &c
	case *CredentialUnavailableError:
		if e == nil {
			return &CredentialUnavailableError{}
		}
		c := *e
		return &c
	}
	return err
}

// asType does what errors.AsType does from Go 1.26 on.
func asType[E error](err error) (E, bool) {
	var e E
	ok := errors.As(err, &e)
	return e, ok
}

// ReasonOf returns the Reason of an *AuthenticationFailedError or *CredentialUnavailableError, even if it is wrapped.
// It returns "" for any other error.
func ReasonOf(err error) Reason {
	if e, ok := asType[*AuthenticationFailedError](err); ok && e != nil {
		return e.Reason
	}
	if e, ok := asType[*CredentialUnavailableError](err); ok && e != nil {
		return e.Reason
	}
	return ""
}

// notConfigured returns the error for a credential for which nothing is set.
func notConfigured(name, message string) error {
	return &CredentialUnavailableError{Reason: ReasonConfiguration, message: name + ": " + message}
}

// Reason is the kind of failure that an error reports, for programs that react to it. Its values consist of [a-z_], so
// that they can be labels of metrics. The zero value means that no other value is known to apply.
type Reason string

const (
	// ReasonAbsent means that there is no managed identity endpoint, or that something else answers at its address.
	ReasonAbsent Reason = "absent"
	// ReasonNotReady means that the endpoint is known to exist, but accepts no connection or keeps failing (404, 410,
	// 5xx).
	ReasonNotReady Reason = "not_ready"
	// ReasonThrottled means that the endpoint asked for a pause (429, or a server error with Retry-After) that ends too
	// late for the caller.
	ReasonThrottled Reason = "throttled"
	// ReasonIdentityNotFound means that the requested identity is not assigned to this host, or that Entra doesn't know
	// the application or its tenant.
	ReasonIdentityNotFound Reason = "identity_not_found"
	// ReasonAmbiguousIdentity means that the host has several identities and the options name none.
	ReasonAmbiguousIdentity Reason = "ambiguous_identity"
	// ReasonInvalidScope means that the scope is malformed, or that its resource is unknown.
	ReasonInvalidScope Reason = "invalid_scope"
	// ReasonRejectedCredential means that the endpoint refused the proof of the identity, for example a secret or its
	// header. It also means that the endpoint has another certificate than the host names.
	ReasonRejectedCredential Reason = "rejected_credential"
	// ReasonMalformedAnswer means that the endpoint answered with success but without a usable token, or asked for
	// something that it must not get.
	ReasonMalformedAnswer Reason = "malformed_answer"
	// ReasonConfiguration means that options or environment variables are incomplete, contradictory or unsupported.
	ReasonConfiguration Reason = "configuration"
	// ReasonPanic means that a Transport, policy, tracer or callback of the program panicked or ended its goroutine.
	ReasonPanic Reason = "panic"
)

// Help returns the address of the section of docs/troubleshooting.md about this kind of failure, with causes and
// remedies. The page is that of this version of the module. The line of an error ends with the address.
func (r Reason) Help() string {
	return helpPage + "#" + strings.ReplaceAll(cmp.Or(string(r), "no_reason"), "_", "-")
}

const helpPage = "https://" + modulePath + "/blob/" + version + "/docs/troubleshooting.md"

// see returns the end of an error's line.
func (r Reason) see() string { return "; see " + r.Help() }

var seeHelp = regexp.MustCompile("; see " + regexp.QuoteMeta(helpPage) + "#[a-z-]+")

// final reports whether an immediate retry would bring the same answer.
func (r Reason) final() bool {
	return r != ReasonAbsent && r != ReasonNotReady && r != ReasonThrottled && r != ReasonPanic
}

// ofIdentity reports whether the identity was refused, whatever the token.
func (r Reason) ofIdentity() bool {
	return r == ReasonRejectedCredential || r == ReasonIdentityNotFound
}
