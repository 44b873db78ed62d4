package managedid

import (
	"cmp"
	"regexp"
	"strings"
)

// Reason says what kind of failure an error is, for programs that react to it.
// The zero value means that none of the others is known to apply.
type Reason string

const (
	// ReasonAbsent: no managed identity endpoint is there, or what answers at its address is something else.
	ReasonAbsent Reason = "absent"
	// ReasonNotReady: the endpoint is known to exist, but doesn't accept connections or keeps failing (404, 410, 5xx).
	ReasonNotReady Reason = "not ready"
	// ReasonThrottled: the endpoint asked for a pause (429, or a server error with Retry-After) that outlasts the caller.
	ReasonThrottled Reason = "throttled"
	// ReasonIdentityNotFound: the identity asked for isn't assigned to this host, or Entra doesn't know the application or its tenant.
	ReasonIdentityNotFound Reason = "identity not found"
	// ReasonAmbiguousIdentity: the host has several identities, and none was named.
	ReasonAmbiguousIdentity Reason = "ambiguous identity"
	// ReasonInvalidScope: the scope is malformed, or its resource is unknown.
	ReasonInvalidScope Reason = "invalid scope"
	// ReasonRejectedCredential: the endpoint refused what proves the identity, for example a secret or its header, or has itself
	// another certificate than the host names.
	ReasonRejectedCredential Reason = "rejected credential"
	// ReasonMalformedAnswer: the endpoint answered with success but without a usable token, or asked for what it must not have.
	ReasonMalformedAnswer Reason = "malformed answer"
	// ReasonConfiguration: options or environment variables are incomplete, contradictory or unsupported.
	ReasonConfiguration Reason = "configuration"
	// ReasonPanic: a Transport, policy, tracer or callback of the program panicked, or ended its goroutine.
	ReasonPanic Reason = "panic"
)

// Help returns the address of the section of docs/troubleshooting.md that has the errors of this kind, with their causes and what
// to do. Their lines end with it.
func (r Reason) Help() string {
	return helpPage + "#" + strings.ReplaceAll(cmp.Or(string(r), "no reason"), " ", "-")
}

const helpPage = "https://github.com/managedid/managedid/blob/main/docs/troubleshooting.md"

// see is the end of an error's line.
func (r Reason) see() string { return "; see " + r.Help() }

var seeHelp = regexp.MustCompile("; see " + regexp.QuoteMeta(helpPage) + "#[a-z-]+")

// final tells whether asking again at once would bring the same answer.
func (r Reason) final() bool {
	return r != ReasonAbsent && r != ReasonNotReady && r != ReasonThrottled && r != ReasonPanic
}

// ofIdentity tells whether it is the identity that was refused, whatever was asked for.
func (r Reason) ofIdentity() bool {
	return r == ReasonRejectedCredential || r == ReasonIdentityNotFound
}
