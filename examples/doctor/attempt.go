package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid"
)

// options are the flags of the command.
type options struct {
	scope string
	probe bool
	limit time.Duration
}

// attempt is the result of a token request.
type attempt struct {
	Took       time.Duration    `json:"took,omitempty"`
	Expires    time.Time        `json:"expires,omitzero"`
	Error      string           `json:"error,omitempty"`
	Reason     managedid.Reason `json:"reason,omitempty"`
	RetryAfter time.Time        `json:"retryAfter,omitzero"`

	final bool // the chain doesn't continue after this failure
	// links are the failures of the links, if the chain found none available. Otherwise nil.
	links []error
}

// try requests a token from the credential.
func (o options) try(ctx context.Context, cred *managedid.DefaultAzureCredential) *attempt {
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	start := time.Now()
	token, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{o.scope}})
	a := &attempt{Took: time.Since(start), Expires: token.ExpiresOn}
	var unavailable *managedid.CredentialUnavailableError
	var failed *managedid.AuthenticationFailedError
	if errors.As(err, &unavailable) {
		a.links = unavailable.Links
	} else if errors.As(err, &failed) {
		a.final, a.RetryAfter = true, failed.RetryAfter
	}
	if err != nil {
		a.Error, a.Reason = err.Error(), managedid.ReasonOf(err)
	}
	return a
}

// alone requests a token from the named link only. It uses the cache of the process, so it repeats no request and
// respects the pauses of endpoints.
func (o options) alone(ctx context.Context, name string) *attempt {
	os.Setenv("AZURE_TOKEN_CREDENTIALS", name)
	cred, err := managedid.NewDefaultAzureCredential(nil)
	if err != nil {
		return &attempt{Error: err.Error()}
	}
	a := o.try(ctx, cred)
	if len(a.links) == 1 {
		a.Error, a.Reason = a.links[0].Error(), managedid.ReasonOf(a.links[0])
	}
	return a
}

// forLink returns the part of the chain's attempt that concerns link i. It returns nil if there is none.
func (a *attempt) forLink(i int, l managedid.Link) *attempt {
	switch {
	case a == nil || l.State == managedid.LinkNotConfigured:
		return nil
	case i < len(a.links):
		// The time that the link took is not known.
		return &attempt{Error: a.links[i].Error(), Reason: managedid.ReasonOf(a.links[i])}
	case l.State == managedid.LinkInUse, a.final && strings.HasPrefix(a.Error, l.Credential+": "):
		return a
	}
	return nil
}
