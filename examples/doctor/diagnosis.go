package main

import (
	"context"
	"time"

	"github.com/managedid/managedid"
)

// diagnosis is what the doctor prints.
type diagnosis struct {
	Credential string `json:"credential,omitempty"`
	Selected   string `json:"selected,omitempty"` // the value of AZURE_TOKEN_CREDENTIALS
	Links      []link `json:"links,omitempty"`
	Healthy    bool   `json:"healthy"`
	Verdict    string `json:"verdict"`
}

// link is a link of the chain, with the result of its token request.
type link struct {
	managedid.Link
	Token *attempt `json:"token,omitempty"` // nil: no token was requested
}

// diagnose explains the default chain. With a scope, it also requests tokens.
func diagnose(ctx context.Context, o options) (d diagnosis) {
	cred, err := managedid.NewDefaultAzureCredential(nil)
	if err != nil {
		return diagnosis{Verdict: err.Error()}
	}
	var chain *attempt
	if o.scope != "" {
		chain = o.try(ctx, cred)
	}
	r := cred.Explain(ctx, &managedid.ExplainOptions{Probe: o.probe})
	d.Credential, d.Selected = r.Credential, r.Selected
	for i, l := range r.Links {
		d.Links = append(d.Links, link{l, chain.forLink(i, l)})
	}
	if chain == nil {
		d.judge()
		return d
	}
	if d.Verdict = r.Credential + " gets no token"; chain.links != nil {
		d.Verdict += d.hint()
	}
	for i := range d.Links {
		switch l := &d.Links[i]; {
		case l.State == managedid.LinkInUse:
			d.Healthy, d.Verdict = true, r.Credential+" gets a token with "+l.Credential
		case l.Token != nil && l.Token.final:
			d.Verdict += ": it ends at " + l.Credential + l.trouble()
		case l.Token == nil && l.State == managedid.LinkConfigured && !l.absent():
			l.Token = o.alone(ctx, l.Credential)
		}
		if l := &d.Links[i]; l.State == managedid.LinkIncomplete {
			l.Token = nil // its problem says the same
		}
	}
	return d
}

// absent reports whether the probe did not find the endpoint.
func (l *link) absent() bool {
	return l.Probe != nil && !l.Probe.Present && l.ThrottledUntil.IsZero()
}

// trouble says why a chain ends at a link, as far as this is known without a token request. It returns "" if no reason
// is known.
func (l *link) trouble() string {
	switch {
	case l.Problem != "":
		return ", because of the problem above; see " + l.Reason.Help()
	case l.absent():
		return ", whose endpoint does not answer as it should; see " + managedid.ReasonNotReady.Help()
	case !l.ThrottledUntil.IsZero():
		return ", whose endpoint is throttling until " + l.ThrottledUntil.Format(time.RFC3339) + "; see " +
			managedid.ReasonThrottled.Help()
	}
	return ""
}

// judge sets the verdict for a run without a scope: which link the chain would ask first.
func (d *diagnosis) judge() {
	const try = "; to see whether that gets one: -scope https://vault.azure.net/.default"
	for _, l := range d.Links {
		trouble := l.trouble()
		switch {
		// The chain continues after such a link.
		case l.State == managedid.LinkNotConfigured, l.absent() && l.Source == string(managedid.SourceIMDS):
			continue
		case trouble != "":
			d.Verdict = d.Credential + " would end at " + l.Credential + trouble
		default:
			d.Healthy, d.Verdict = true, d.Credential+" would ask for a token with "+l.Credential+try
		}
		return
	}
	d.Verdict = d.Credential + " has nobody to ask for a token" + d.hint()
}

// hint says what to do if no link gets a token.
func (d *diagnosis) hint() string {
	if d.Selected != "" {
		return "; AZURE_TOKEN_CREDENTIALS may have another value, or none"
	}
	return ": see the rows because and probe; on a laptop, set AZURE_TOKEN_CREDENTIALS=dev, or run the program " +
		"beside the emulator"
}
