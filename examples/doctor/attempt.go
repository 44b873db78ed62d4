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

type options struct {
	scope string
	probe bool
	limit time.Duration
}

// attempt is what came of asking for a token.
type attempt struct {
	Took       time.Duration    `json:"took,omitempty"`
	Expires    time.Time        `json:"expires,omitzero"`
	Error      string           `json:"error,omitempty"`
	Reason     managedid.Reason `json:"reason,omitempty"`
	RetryAfter time.Time        `json:"retryAfter,omitzero"`

	final bool    // the chain doesn't go on
	links []error // of a chain that found nobody
}

func (o options) try(ctx context.Context, cred *managedid.DefaultAzureCredential) *attempt {
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	start := time.Now()
	token, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{o.scope}})
	a := &attempt{Took: time.Since(start), Expires: token.ExpiresOn}
	if unavailable, ok := errors.AsType[*managedid.CredentialUnavailableError](err); ok {
		a.links = unavailable.Links
	} else if failed, ok := errors.AsType[*managedid.AuthenticationFailedError](err); ok {
		a.final, a.RetryAfter = true, failed.RetryAfter
	}
	if err != nil {
		a.Error, a.Reason = err.Error(), managedid.ReasonOf(err)
	}
	return a
}

// alone asks one link, by the process's cache too, so that nothing is sent twice and nobody's pause is disregarded.
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

// of returns the part that a link has in the chain's attempt, nil if it has none.
func (a *attempt) of(i int, l managedid.LinkReport) *attempt {
	switch {
	case a == nil || l.State == managedid.LinkNotConfigured:
		return nil
	case i < len(a.links):
		return &attempt{Error: a.links[i].Error(), Reason: managedid.ReasonOf(a.links[i])} // how long it took isn't known
	case l.State == managedid.LinkInUse, a.final && strings.HasPrefix(a.Error, l.Credential+": "):
		return a
	}
	return nil
}
