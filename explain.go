package managedid

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/managedid/managedid/internal/text"
)

// LinkState says how far a link of a chain is configured.
type LinkState string

const (
	// LinkNotConfigured means that nothing is set for the link. The chain goes on to the next one.
	LinkNotConfigured LinkState = "not configured"
	// LinkIncomplete means that only a part of what the link needs is set or valid. The chain ends here with an error.
	LinkIncomplete LinkState = "partially configured"
	// LinkConfigured means that the chain asks the link, unless one before it gives a token.
	LinkConfigured LinkState = "configured"
	// LinkInUse means that the chain has chosen the link.
	LinkInUse LinkState = "in use"
)

// ChainReport says which identities a chain would try, and why. It contains no secrets, and can be marshaled to JSON.
type ChainReport struct {
	// Credential is the type of the chain, or of a credential that is not in a chain.
	Credential string `json:"credential"`
	// Selected is the value of AZURE_TOKEN_CREDENTIALS. Zero means unset, or a chain that doesn't use it.
	Selected string `json:"selected,omitempty"`
	// Links has the links in the order in which the chain asks them. A chain within the chain is replaced by its links.
	Links []Link `json:"links"`
}

// Link describes one link of a chain. A zero field means that there is nothing to report.
type Link struct {
	Credential string    `json:"credential"`         // the link's type
	State      LinkState `json:"state"`              // how far it is configured
	Source     string    `json:"source,omitempty"`   // where it requests tokens: "IMDS", "Entra", …
	Endpoint   string    `json:"endpoint,omitempty"` // its URL without a query, or the program's path
	Evidence   string    `json:"evidence,omitempty"` // what shows that the managed identity has this source
	Identity   string    `json:"identity,omitempty"` // the identity that it requests tokens for
	File       string    `json:"file,omitempty"`     // the file with the assertion or the certificate
	// Variables has the environment variables that the link uses, or could use if it is not configured. Only those that
	// are set appear: as NAME=value, or as NAME alone if the value is secret or invalid.
	Variables []string `json:"variables,omitempty"`
	// Problem is what is missing or wrong, and Reason is its kind.
	Problem string `json:"problem,omitempty"`
	Reason  Reason `json:"reason,omitempty"`
	// ThrottledUntil is the end of the pause that the endpoint asked for. Zero means that there is no pause.
	ThrottledUntil time.Time `json:"throttledUntil,omitzero"`
	// Probe is the result of the request that asks whether the endpoint is there. Nil means that there was none.
	Probe *Probe `json:"probe,omitempty"`
}

// ExplainOptions are the options of Explain.
type ExplainOptions struct {
	// Probe sends each endpoint a request that asks whether it is there, for three seconds at most. False means that
	// Explain sends nothing. The policies in ClientOptions don't apply to this request.
	Probe bool
}

// Explain reports how each link of the default chain is configured, and whether its files can be used. It never
// requests a token. Nil options mean defaults.
func (c *DefaultAzureCredential) Explain(ctx context.Context, options *ExplainOptions) ChainReport {
	if c.chain == nil {
		return alone(nameDefault, unmadeLink(nameDefault))
	}
	r := c.chain.Explain(ctx, options)
	r.Selected = c.selected
	return r
}

// Explain reports how each link of the chain is configured, as [DefaultAzureCredential.Explain] does.
func (c *ChainedTokenCredential) Explain(ctx context.Context, options *ExplainOptions) ChainReport {
	if len(c.links) == 0 {
		return alone(nameChained, unmadeLink(nameChained))
	}
	r := ChainReport{Credential: c.name}
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
		report := l.explain(ctx, options)
		if w := c.winner.Load(); w != nil && w.link == l {
			report.State = LinkInUse
		}
		r.Links = append(r.Links, report)
	}
	return r
}

// Explain returns the report of a chain that has this credential as its only link. Nil options mean defaults.
func (c *ManagedIdentityCredential) Explain(ctx context.Context, options *ExplainOptions) ChainReport {
	return alone(nameManagedIdentity, c.explain(ctx, nameManagedIdentity, options))
}

// Explain returns the report of a chain that has this credential as its only link. Nil options mean defaults.
func (c *WorkloadIdentityCredential) Explain(ctx context.Context, options *ExplainOptions) ChainReport {
	return alone(nameWorkloadIdentity, c.explain(ctx, nameWorkloadIdentity, options))
}

// Explain returns the report of a chain that has this credential as its only link. Nil options mean defaults.
func (c *EnvironmentCredential) Explain(ctx context.Context, options *ExplainOptions) ChainReport {
	return alone(nameEnvironment, c.explain(ctx, nameEnvironment, options))
}

// Explain returns the report of a chain that has this credential as its only link. Nil options mean defaults.
func (c *ClientSecretCredential) Explain(ctx context.Context, options *ExplainOptions) ChainReport {
	return alone(nameClientSecret, c.explain(ctx, nameClientSecret, options))
}

// Explain returns the report of a chain that has this credential as its only link. Nil options mean defaults.
func (c *ClientCertificateCredential) Explain(ctx context.Context, options *ExplainOptions) ChainReport {
	return alone(nameClientCertificate, c.explain(ctx, nameClientCertificate, options))
}

// Explain returns the report of a chain that has this credential as its only link. Nil options mean defaults.
func (c *ClientAssertionCredential) Explain(ctx context.Context, options *ExplainOptions) ChainReport {
	return alone(nameClientAssertion, c.explain(ctx, nameClientAssertion, options))
}

// Explain returns the report of a chain that has this credential as its only link. Nil options mean defaults.
func (c *AzureCLICredential) Explain(ctx context.Context, options *ExplainOptions) ChainReport {
	return alone(nameAzureCLI, c.explain(ctx, nameAzureCLI, options))
}

// Explain returns the report of a chain that has this credential as its only link. Nil options mean defaults.
func (c *AzureDeveloperCLICredential) Explain(ctx context.Context, options *ExplainOptions) ChainReport {
	return alone(nameAzureDeveloperCLI, c.explain(ctx, nameAzureDeveloperCLI, options))
}

// alone returns the report of a credential that is not in a chain.
func alone(name string, l Link) ChainReport { return ChainReport{Credential: name, Links: []Link{l}} }

func unmadeLink(name string) Link {
	return Link{Credential: name, State: LinkIncomplete, Reason: ReasonConfiguration,
		Problem: strings.TrimPrefix(lineOf(notMade(name)), name+": ")}
}

func (l *link) explain(ctx context.Context, options *ExplainOptions) Link {
	if failing, ok := l.TokenCredential.(*failingLink); ok {
		r := Link{State: LinkIncomplete, Reason: ReasonOf(failing.err)}
		if _, unavailable := asType[*CredentialUnavailableError](failing.err); unavailable {
			r.State = LinkNotConfigured
		}
		r.Credential, r.Problem, _ = strings.Cut(lineOf(failing.err), ": ")
		r.Variables = setOf(linkVariables[r.Credential])
		return r
	}
	if l.credential == nil {
		return Link{Credential: fmt.Sprintf("%T", l.TokenCredential), State: LinkConfigured}
	}
	return l.credential.explain(ctx, l.credential.name, options)
}

// explain reports how the credential is configured, and probes its endpoint if the options say so. c may be nil.
func (c *credential) explain(ctx context.Context, name string, options *ExplainOptions) Link {
	if c == nil {
		return unmadeLink(name)
	}
	r := c.setup()
	if options != nil && options.Probe && c.source.run == nil {
		c.probe(ctx, &r)
	}
	return r
}

func (c *credential) setup() Link {
	s := c.source
	r := Link{Credential: c.name, State: LinkConfigured, Source: s.name, Endpoint: text.URL(s.url),
		Evidence: s.evidence, Identity: s.subject, File: s.file, Variables: setOf(s.variables)}
	if c.source.run != nil {
		path, err := exec.LookPath(s.name)
		if err == nil {
			r.Endpoint = text.Path(path)
		} else {
			r.State, r.Reason, r.Problem = LinkNotConfigured, ReasonAbsent, "the program "+s.name+" is not on the "+
				"PATH; install it, or correct the PATH"
		}
	}
	if strings.Contains(r.Identity, text.NotAnID) && !strings.EqualFold(c.tenant, tenantADFS) {
		r.State, r.Reason, r.Problem = LinkIncomplete, ReasonConfiguration, "the ID is neither a GUID nor a resource "+
			"ID; correct it in the options or AZURE_CLIENT_ID"
	} else if s.check != nil {
		if err := s.check(); err != nil {
			err = c.unable(err)
			r.State, r.Reason, r.Problem = LinkIncomplete, ReasonOf(err), strings.TrimPrefix(lineOf(err), c.who+": ")
		}
	}
	r.ThrottledUntil = c.throttledUntil()
	return r
}

// throttledUntil returns the end of the current pause, or zero if there is none.
func (c *credential) throttledUntil() time.Time {
	return later(time.Time{}, c.gate.Status().Opens)
}

// String returns a table, with one line for each link followed by lines with its details.
func (r ChainReport) String() string {
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

// String returns one line for the link, followed by lines with its details.
func (l Link) String() string {
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
