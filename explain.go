package managedid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
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
	Endpoint   string    `json:"endpoint,omitempty"` // its URL, or the program's path
	Identity   string    `json:"identity,omitempty"` // who is asked for
	// Variables are the environment variables for it that are set: NAME=value, or NAME alone where the value is secret.
	Variables []string `json:"variables,omitempty"`
	// Problem is what is missing or wrong.
	Problem string `json:"problem,omitempty"`
	// Probe is what came of asking the endpoint whether it is there. Nil: it wasn't asked.
	Probe *ProbeReport `json:"probe,omitempty"`
}

// ProbeReport is what came of a request to a link's endpoint that asks for no token.
type ProbeReport struct {
	// Present tells whether the endpoint answered, and as what it is taken for.
	Present bool `json:"present"`
	// Answer says it in words.
	Answer string `json:"answer"`
	// Took is how long that took, in nanoseconds in JSON.
	Took time.Duration `json:"took"`
}

// ExplainOptions are the options of Explain.
type ExplainOptions struct {
	// Probe asks each endpoint whether it is there. Zero means that nothing is sent.
	Probe bool
}

// probeLimit is for one endpoint.
const probeLimit = 3 * time.Second

// Explain tells what each link of the default chain is set up with. It never asks for a token. Pass nil for defaults.
func (c *DefaultAzureCredential) Explain(ctx context.Context, options *ExplainOptions) Report {
	r := c.chain.Explain(ctx, options)
	r.Selected = os.Getenv(selectorVariable)
	return r
}

// Explain tells what each link of the chain is set up with. It never asks for a token. Pass nil for defaults.
func (c *ChainedTokenCredential) Explain(ctx context.Context, options *ExplainOptions) Report {
	r := Report{Credential: c.name}
	for i := range c.links {
		l := &c.links[i]
		if inner, ok := l.TokenCredential.(interface {
			Explain(context.Context, *ExplainOptions) Report
		}); ok {
			r.Links = append(r.Links, inner.Explain(ctx, options).Links...)
			continue
		}
		report := l.explain()
		if c.winner.Load() == l {
			report.State = LinkInUse
		}
		if options != nil && options.Probe && l.own != nil && report.State != LinkNotConfigured {
			report.Probe = l.own.probe(ctx)
		}
		r.Links = append(r.Links, report)
	}
	return r
}

func (l *link) explain() LinkReport {
	if failing, ok := l.TokenCredential.(failingLink); ok {
		r := LinkReport{State: LinkIncomplete}
		if _, unavailable := errors.AsType[*CredentialUnavailableError](failing.err); unavailable {
			r.State = LinkNotConfigured
		}
		r.Credential, r.Problem, _ = strings.Cut(failing.err.Error(), ": ")
		r.Variables = variablesOf(r.Credential)
		return r
	}
	if l.own == nil {
		return LinkReport{Credential: fmt.Sprintf("%T", l.TokenCredential), State: LinkConfigured}
	}
	s := l.own.source
	r := LinkReport{Credential: l.own.name, State: LinkConfigured, Source: s.name, Endpoint: s.url, Identity: s.subject, Variables: variablesOf(l.own.name)}
	if l.own.run != nil {
		path, err := exec.LookPath(s.name)
		if r.Endpoint = path; err != nil {
			r.State, r.Problem = LinkNotConfigured, "the program "+s.name+" is not on the PATH; install it, or correct the PATH"
		}
	}
	if s.file != "" {
		if _, err := os.Stat(s.file); err != nil {
			r.Problem = "the file " + s.file + " is not there as this program sees it"
		}
	}
	return r
}

// linkVariables are the variables that a link uses. Those in hiddenVariables are shown without their values.
var linkVariables = map[string][]string{
	nameEnvironment: {"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CLIENT_CERTIFICATE_PASSWORD",
		"AZURE_AUTHORITY_HOST", "AZURE_REGIONAL_AUTHORITY_NAME"},
	nameWorkloadIdentity: {"AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_AUTHORITY_HOST", "AZURE_REGIONAL_AUTHORITY_NAME"},
	nameManagedIdentity: {"IDENTITY_ENDPOINT", "IDENTITY_HEADER", thumbprintVariable, "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET",
		"AZURE_POD_IDENTITY_AUTHORITY_HOST", "AZURE_CLIENT_ID", "DEFAULT_IDENTITY_CLIENT_ID"},
}

var hiddenVariables = []string{"AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "IDENTITY_HEADER", "MSI_SECRET"}

func variablesOf(credential string) (set []string) {
	for _, name := range linkVariables[credential] {
		value := os.Getenv(name)
		switch {
		case value == "":
		case slices.Contains(hiddenVariables, name), strings.Contains(value, "@"): // a URL with a password
			set = append(set, name)
		default:
			set = append(set, name+"="+quotable(value))
		}
	}
	return set
}

// probe sends the endpoint a request that it gives nobody a token for: at IMDS the token's without the header Metadata, elsewhere the
// host's root.
func (c *credential) probe(ctx context.Context) *ProbeReport {
	u, err := url.Parse(c.source.url)
	if err != nil || u.Host == "" {
		return nil
	}
	if c.source.recognise == nil {
		u = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/"}
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil
	}
	start := time.Now()
	resp, err := c.transport.Do(req)
	p := &ProbeReport{Took: time.Since(start)}
	switch {
	case ctx.Err() != nil:
		p.Answer = "no answer within " + probeLimit.String()
	case err != nil:
		p.Answer = transportCause(err)
	case c.source.recognise != nil && !c.source.recognise(readAnswer(resp)):
		p.Answer = "something else answers: " + statusLine(resp.StatusCode)
	default:
		p.Present, p.Answer = true, "answers: "+statusLine(resp.StatusCode)
	}
	return p
}

// String is a table, with a line for each link and lines below it for what is known of it.
func (r Report) String() string {
	var b strings.Builder
	b.WriteString(r.Credential)
	if r.Selected != "" {
		b.WriteString(", " + selectorVariable + "=" + quotable(r.Selected))
	}
	b.WriteByte('\n')
	for i, l := range r.Links {
		fmt.Fprintf(&b, "%d. %-28s %s\n", i+1, l.Credential, l.State)
		for _, row := range [][2]string{{"source", strings.TrimSpace(l.Source + " " + l.Endpoint)}, {"identity", l.Identity},
			{"set", strings.Join(l.Variables, " ")}, {"problem", l.Problem}, {"probe", l.Probe.String()}} {
			if row[1] != "" {
				fmt.Fprintf(&b, "   %-9s %s\n", row[0], row[1])
			}
		}
	}
	return b.String()
}

// String is one line; "" for nil.
func (p *ProbeReport) String() string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("%s, after %v", p.Answer, p.Took.Round(time.Millisecond/10))
}
