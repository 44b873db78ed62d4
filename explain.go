package managedid

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// LinkState says how far a link of a chain is set up.
type LinkState string

const (
	// LinkNotConfigured: nothing is set that is meant for it; the chain goes on to the next.
	LinkNotConfigured LinkState = "not configured"
	// LinkIncomplete: something is set that only it uses, but something else is missing or wrong; the chain ends here with an error.
	LinkIncomplete LinkState = "configured by half"
	// LinkConfigured: the chain asks it, unless one before it gives a token.
	LinkConfigured LinkState = "configured"
	// LinkInUse: the chain has chosen it.
	LinkInUse LinkState = "in use"
)

// Report says which identities a chain would try, and why. It has no secrets, and marshals to JSON.
type Report struct {
	// Credential is the chain's type.
	Credential string `json:"credential"`
	// Selected is the value of AZURE_TOKEN_CREDENTIALS. Zero means unset, or a chain that doesn't use it.
	Selected string `json:"selected,omitempty"`
	// Links are in the order in which they are asked. Those of a chain within the chain are in its place.
	Links []LinkReport `json:"links"`
}

// LinkReport is about one link of a chain. Zero fields mean that there is nothing to say.
type LinkReport struct {
	Credential string    `json:"credential"`         // the link's type
	State      LinkState `json:"state"`              // how far it is set up
	Source     string    `json:"source,omitempty"`   // where it asks: "IMDS", "Entra", …
	Endpoint   string    `json:"endpoint,omitempty"` // its URL without a query, or the program's path
	Evidence   string    `json:"evidence,omitempty"` // what shows that a managed identity has this source
	Identity   string    `json:"identity,omitempty"` // who is asked for
	File       string    `json:"file,omitempty"`     // with the assertion or the certificate
	// Variables are the environment variables that the link goes by, where it is set up, else all that could do so, as far as they are
	// set now: NAME=value, or NAME alone where the value is secret, or not what it should be.
	Variables []string `json:"variables,omitempty"`
	// Problem is what is missing or wrong, and Reason its kind.
	Problem string `json:"problem,omitempty"`
	Reason  Reason `json:"reason,omitempty"`
	// ThrottledUntil is when the endpoint may be asked again, where it asked for a pause.
	ThrottledUntil time.Time `json:"throttledUntil,omitzero"`
	// Probe is what came of asking the endpoint whether it is there. Nil: it wasn't asked.
	Probe *ProbeReport `json:"probe,omitempty"`
}

// ExplainOptions are the options of Explain.
type ExplainOptions struct {
	// Probe asks each endpoint whether it is there, for three seconds at most. Zero means that nothing is sent.
	// What policies in ClientOptions would add to a request is not in these.
	Probe bool
}

// Explain tells what each link of the default chain is set up with, and whether its files can be used. It never asks for a token. Pass
// nil for defaults.
func (c *DefaultAzureCredential) Explain(ctx context.Context, options *ExplainOptions) Report {
	r := c.chain.Explain(ctx, options)
	r.Selected = c.selected
	return r
}

// Explain tells what each link of the chain is set up with, and whether its files can be used. It never asks for a token. Pass nil for
// defaults.
func (c *ChainedTokenCredential) Explain(ctx context.Context, options *ExplainOptions) Report {
	r := Report{Credential: c.name}
	for i := range c.links {
		l := &c.links[i]
		switch inner := l.TokenCredential.(type) {
		case *ChainedTokenCredential:
			r.Links = append(r.Links, inner.Explain(ctx, options).Links...)
			continue
		case *DefaultAzureCredential:
			r.Links = append(r.Links, inner.Explain(ctx, options).Links...)
			continue
		}
		report := l.explain()
		if w := c.winner.Load(); w != nil && w.link == l {
			report.State = LinkInUse
		}
		if options != nil && options.Probe && l.own != nil && l.own.run == nil {
			l.own.probe(ctx, &report)
		}
		r.Links = append(r.Links, report)
	}
	return r
}

func (l *link) explain() LinkReport {
	if failing, ok := l.TokenCredential.(failingLink); ok {
		r := LinkReport{State: LinkIncomplete, Reason: ReasonOf(failing.err)}
		if _, unavailable := errors.AsType[*CredentialUnavailableError](failing.err); unavailable {
			r.State = LinkNotConfigured
		}
		r.Credential, r.Problem, _ = strings.Cut(lineOf(failing.err), ": ")
		r.Variables = setOf(linkVariables[r.Credential])
		return r
	}
	if l.own == nil {
		return LinkReport{Credential: fmt.Sprintf("%T", l.TokenCredential), State: LinkConfigured}
	}
	return l.own.explain()
}

func (c *credential) explain() LinkReport {
	s := c.source
	r := LinkReport{Credential: c.name, State: LinkConfigured, Source: s.name, Endpoint: shownURL(s.url), Evidence: s.evidence,
		Identity: s.subject, File: s.file, Variables: setOf(s.variables)}
	if c.run != nil {
		path, err := exec.LookPath(s.name)
		if err == nil {
			r.Endpoint = shownPath(path)
		} else {
			r.State, r.Reason, r.Problem = LinkNotConfigured, ReasonAbsent, "the program "+s.name+" is not on the PATH; install it, or correct the PATH"
		}
	}
	if strings.Contains(r.Identity, notAnID) && !strings.EqualFold(c.tenant, tenantADFS) {
		r.State, r.Reason, r.Problem = LinkIncomplete, ReasonConfiguration, "the ID is neither a GUID nor a resource ID; correct it in the options or AZURE_CLIENT_ID"
	} else if s.check != nil {
		if err := s.check(); err != nil {
			err = c.unable(err)
			r.State, r.Reason, r.Problem = LinkIncomplete, ReasonOf(err), strings.TrimPrefix(lineOf(err), c.who+": ")
		}
	}
	r.ThrottledUntil = c.throttledUntil()
	return r
}

// throttledUntil is zero where the endpoint hasn't asked for a pause that lasts.
func (c *credential) throttledUntil() time.Time {
	return later(time.Time{}, c.gate.Status().Opens)
}

// linkVariables are the variables that a link may go by.
var linkVariables = map[string][]string{
	nameEnvironment: {"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CLIENT_CERTIFICATE_PASSWORD",
		"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "AZURE_AUTHORITY_HOST", "AZURE_REGIONAL_AUTHORITY_NAME"},
	nameWorkloadIdentity: {tokenFileVariable, "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_AUTHORITY_HOST", "AZURE_REGIONAL_AUTHORITY_NAME"},
	nameManagedIdentity: {"IDENTITY_ENDPOINT", "IDENTITY_HEADER", thumbprintVariable, "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET",
		"AZURE_POD_IDENTITY_AUTHORITY_HOST", "AZURE_CLIENT_ID", "DEFAULT_IDENTITY_CLIENT_ID"},
}

// setOf returns those of the variables that are set.
func setOf(variables []string) (set []string) {
	for _, name := range variables {
		value := os.Getenv(name)
		if shown := shownValue(name, value); shown != "" {
			set = append(set, name+"="+shown)
		} else if value != "" {
			set = append(set, name)
		}
	}
	return set
}

// shownValue returns "" where a value is secret, or isn't what the variable is for, so that it may be.
func shownValue(name, value string) string {
	is := true
	switch name {
	case "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "IDENTITY_HEADER", "MSI_SECRET", tokenProxyCAData:
		is = false
	case "AZURE_CLIENT_ID", "DEFAULT_IDENTITY_CLIENT_ID":
		is = isGUID(value)
	case "AZURE_TENANT_ID", tokenProxySNI:
		is = validTenant(value) && !jwt.MatchString(value)
	case "AZURE_REGIONAL_AUTHORITY_NAME":
		is = isRegion(value)
	case "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN":
		_, err := strconv.ParseBool(value)
		is = err == nil
	case thumbprintVariable:
		_, err := parsePin(value)
		is = err == nil
	case tokenFileVariable, "AZURE_CLIENT_CERTIFICATE_PATH", tokenProxyCAFile:
		is = value != "" && shownPath(value) != notAPath
	default:
		return shownURL(value)
	}
	if !is {
		return ""
	}
	return oneLine(value)
}

// shownURL returns a URL without what may be a key in it, "" where there is more that may be.
func shownURL(value string) string {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return ""
	}
	shown := oneLine((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String())
	if u.RawQuery != "" || u.Fragment != "" {
		shown += "?…"
	}
	return shown
}

const notAnID = "(not an ID, so not shown)"

// shownID returns an ID of an identity, unless it is something else in its place, perhaps a secret.
func shownID(id string) string {
	if isGUID(id) || strings.HasPrefix(strings.ToLower(id), "/subscriptions/") {
		return oneLine(id)
	}
	return notAnID
}

// String is a table, with a line for each link and lines below it for what is known of it.
func (r Report) String() string {
	var b strings.Builder
	b.WriteString(r.Credential)
	if r.Selected != "" {
		b.WriteString(", " + selectorVariable + "=" + r.Selected)
	}
	b.WriteByte('\n')
	for i, l := range r.Links {
		fmt.Fprintf(&b, "%d. %s", i+1, l)
	}
	return b.String()
}

// String is a line for the link, and lines below it for what is known of it.
func (l LinkReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-28s %s\n", l.Credential, l.State)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "   %-9s %s\n", name, value)
		}
	}
	row("source", strings.TrimSpace(l.Source+" "+l.Endpoint))
	row("because", l.Evidence)
	problem := "problem"
	if l.State == LinkNotConfigured {
		problem = "because"
	}
	row(problem, l.Problem)
	row("identity", l.Identity)
	row("file", l.File)
	for _, v := range l.Variables {
		row("set", v)
	}
	if !l.ThrottledUntil.IsZero() {
		row("throttled", "until "+l.ThrottledUntil.Format(time.RFC3339))
	}
	row("probe", l.Probe.String())
	return b.String()
}
