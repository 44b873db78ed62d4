package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/managedid/managedid"
)

type diagnosis struct {
	managedid.Report
	Attempts []attempt `json:"attempts,omitempty"` // the chain's is the first
}

// attempt is what came of asking for a token.
type attempt struct {
	With    string        `json:"with"`
	Took    time.Duration `json:"took"` // nanoseconds
	Expires time.Time     `json:"expires,omitzero"`
	Error   string        `json:"error,omitempty"`
	Help    string        `json:"help,omitempty"` // where the error is explained
}

func try(cred *managedid.DefaultAzureCredential, with, scope string, limit time.Duration) attempt {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	start := time.Now()
	token, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
	a := attempt{With: with, Took: time.Since(start), Expires: token.ExpiresOn}
	if err != nil {
		a.Error = err.Error()
		if failed, ok := errors.AsType[*managedid.AuthenticationFailedError](err); ok {
			a.Help = failed.Reason.Help()
		} else if unavailable, ok := errors.AsType[*managedid.CredentialUnavailableError](err); ok {
			a.Help = unavailable.Reason.Help()
		}
	}
	return a
}

// tryLinks asks each link that is configured, as if it were alone.
func (d *diagnosis) tryLinks(scope string, limit time.Duration) {
	for _, l := range d.Links {
		os.Setenv("AZURE_TOKEN_CREDENTIALS", l.Credential)
		cred, err := managedid.NewDefaultAzureCredential(&managedid.DefaultAzureCredentialOptions{Cache: managedid.NewTokenCache(nil)})
		if err == nil && l.State != managedid.LinkNotConfigured {
			d.Attempts = append(d.Attempts, try(cred, fmt.Sprint(l.Credential, " alone"), scope, limit))
		}
	}
}

// healthy tells whether the chain gave a token or, where it wasn't asked for one, whether it comes to a link that may.
func (d *diagnosis) healthy() bool {
	if len(d.Attempts) > 0 {
		return d.Attempts[0].Error == ""
	}
	for _, l := range d.Links {
		if l.State == managedid.LinkIncomplete || l.State == managedid.LinkConfigured && (l.Probe == nil || l.Probe.Present) {
			return l.State == managedid.LinkConfigured
		}
	}
	return false
}
