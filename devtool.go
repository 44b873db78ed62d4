package managedid

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid/internal/tokens"
)

// tool is a program in which a developer has signed in, and which gives tokens of that identity.
type tool struct {
	credential string // the credential's type
	program    string
	arguments  func(a ask, tenant string) ([]string, error) // each --name=value, so that no value is taken for an option
	decode     func(output []byte) (token string, expires time.Time, err error)
	explain    func(stderr string) string
}

// toolConfig is what the credentials of tools have in common.
type toolConfig struct {
	tenantID string // where a request names none; "" means the tool's own
	allowed  []string
	identity string // what else names the identity in a cache
	cache    *TokenCache
	logger   *slog.Logger
}

// toolLimit ends a program that hangs. Callers leave when their own contexts end.
const toolLimit = 30 * time.Second

func newToolCredential(t *tool, o toolConfig) (*credential, error) {
	if o.tenantID != "" && !validTenant(o.tenantID) {
		return nil, misconfigured(t.credential, "the TenantID is not valid: it has at most 253 letters, digits, dots and hyphens only")
	}
	o.cache = cacheFor(o.cache, &azcore.ClientOptions{})
	home, err := t.inTenant(o, o.tenantID)
	if err != nil {
		return nil, err
	}
	home.tenant = o.tenantID
	home.inTenant = func(home *credential, tenant string) (*credential, error) {
		if tenant == "" || strings.EqualFold(tenant, o.tenantID) {
			return home, nil
		}
		problem := ""
		if o.tenantID != "" {
			problem = tenantProblem(o.tenantID, tenant, o.allowed)
		} else if !validTenant(tenant) {
			problem = invalidRequestTenant
		}
		if problem != "" {
			return nil, &AuthenticationFailedError{Reason: ReasonConfiguration, message: home.who + ": " + problem}
		}
		return t.inTenant(o, tenant) // its tokens are in the cache
	}
	return home, nil
}

// inTenant makes the credential for one tenant.
func (t *tool) inTenant(o toolConfig, tenant string) (*credential, error) {
	key := fmt.Sprintf("tool %s %q %q", t.program, strings.ToLower(tenant), o.identity)
	s := &source{
		name:        t.program,
		host:        t.program,
		identity:    key,
		endpoint:    key,
		announced:   true,
		sendsClaims: true,
		scope:       entraScope,
		explained:   explained{subject: "the account that is signed in to " + t.program},
	}
	if tenant != "" {
		s.subject += ", in tenant " + tenant
	}
	c, err := newCredential(t.credential, s, azcore.ClientOptions{Transport: noTransport{}}, o.cache, o.logger)
	if err != nil {
		return nil, err
	}
	c.run = func(ctx context.Context, a ask) (tokens.Token, error) { return t.run(ctx, c.who, a, tenant) }
	return c, nil
}

// noTransport stands where nothing is sent.
type noTransport struct{ policy.Transporter }

// run gets a token from the program.
func (t *tool) run(ctx context.Context, who string, a ask, tenant string) (result tokens.Token, err error) {
	fail := func(reason Reason, text string) (tokens.Token, error) {
		return tokens.Token{}, &AuthenticationFailedError{Reason: reason, message: who + ": " + text}
	}
	if strings.ContainsFunc(a.scope, func(r rune) bool { return r != ' ' && notInScope(r) }) {
		return fail(ReasonInvalidScope, "the scope has characters other than letters, digits and . - _ / :")
	}
	arguments, err := t.arguments(a, tenant)
	if err != nil {
		return fail("", err.Error())
	}
	path, err := exec.LookPath(t.program) // which refuses one of the current folder
	if err != nil {
		return tokens.Token{}, &CredentialUnavailableError{Reason: ReasonAbsent, message: who + ": the program " + t.program + " is not on the PATH; install it, or correct the PATH"}
	}
	output, stderr, err := runProgram(ctx, path, arguments)
	if err != nil {
		text := quotable(t.explain(stderr))
		if _, exited := errors.AsType[*exec.ExitError](err); text == "" || !exited {
			text = oneLine(err.Error())
		}
		return fail("", text)
	}
	if result, err = t.read(output, time.Now()); err != nil {
		return fail(ReasonMalformedAnswer, err.Error())
	}
	return result, nil
}

func (t *tool) read(output []byte, now time.Time) (tokens.Token, error) {
	raw, expires, err := t.decode(output)
	switch {
	case err != nil || !isToken(raw) || expires.UTC().Year() > 9999:
		return tokens.Token{}, errors.New("the program's output is not the JSON of a token")
	case !now.Before(expires):
		return tokens.Token{}, errors.New("the program gave a token that has expired; check the clock of this machine")
	}
	return tokens.Token{AccessToken: azcore.AccessToken{Token: raw, ExpiresOn: expires.UTC()}}, nil
}

// runProgram runs a program, without a shell, in its own folder, and returns what it writes, at most 1 MiB each.
func runProgram(ctx context.Context, path string, arguments []string) (stdout []byte, stderr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, toolLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, arguments...)
	cmd.Env, cmd.Dir = os.Environ(), filepath.Dir(path)
	cmd.WaitDelay = time.Second // for a child of its that keeps the output open
	out, errs := cappedBuffer{full: cancel}, cappedBuffer{full: cancel}
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	switch {
	case ctx.Err() == context.Canceled:
		err = errors.New("the program wrote too much")
	case ctx.Err() != nil:
		err = errors.New("the program gave no token in time")
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil
	}
	return out.content.Bytes(), errs.content.String(), err
}

// cappedBuffer ends the program that writes too much.
type cappedBuffer struct {
	content bytes.Buffer // not embedded: its ReadFrom knows no limit
	full    func()
}

func (b *cappedBuffer) Write(p []byte) (int, error) {
	if b.content.Len()+len(p) > maxBody {
		b.full()
		return 0, errTooLarge
	}
	return b.content.Write(p)
}

func notInScope(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(".-_/:", r))
}

// toolLink is a developer's tool in the default chain, where a tool that has no token is no reason not to ask the next.
type toolLink struct{ *credential }

func (l toolLink) GetToken(ctx context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	t, err := l.credential.GetToken(ctx, opts)
	if failed, ok := err.(*AuthenticationFailedError); ok && failed.cause == nil {
		err = &CredentialUnavailableError{Reason: failed.Reason, message: failed.message}
	}
	return t, err
}

func (l toolLink) inChain() azcore.TokenCredential { return l }
