package managedid

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/internal/text"
	"github.com/managedid/managedid/internal/tokens"
)

// tool is a program in which a developer has signed in, and which prints tokens of that identity.
type tool struct {
	name      string // the credential's type
	program   string
	arguments func(a tokenParams, tenant string) ([]string, error) // each --name=value, so that no value is an option
	decode    func(output []byte) (token string, expires time.Time, err error)
	message   func(stderr string) string
}

// toolConfig has the options that the credentials of all tools share.
type toolConfig struct {
	tenantID     string // the tenant of a request that names none; "" means the tool's own
	allowed      []string
	subscription string // a part of the identity's name in a cache
	cache        *TokenCache
	logger       *slog.Logger
}

// toolLimit is how long the program may run. Callers leave earlier if their own contexts end.
const toolLimit = 30 * time.Second

func newToolCredential(t *tool, o toolConfig) (*credential, error) {
	if o.tenantID != "" && !validTenant(o.tenantID) {
		return nil, misconfigured(t.name,
			"the TenantID is not valid: it has at most 253 letters, digits, dots and hyphens only")
	}
	o.cache = cacheFor(o.cache, &azcore.ClientOptions{})
	return t.credential(o, o.tenantID,
		holding{tenant: o.tenantID, inTenant: func(home *credential, tenant string) (*credential, error) {
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
			return t.credential(o, tenant, holding{}) // not kept: its tokens are in the cache
		}})
}

// credential returns the credential for one tenant.
func (t *tool) credential(o toolConfig, tenant string, h holding) (*credential, error) {
	s := &source{
		name: t.program,
		host: t.program,
		key: identityKey{endpointKey: endpointKey{address: t.program, tenant: strings.ToLower(tenant),
			client: o.subscription}, source: t.program},
		announced:   true,
		sendsClaims: true,
		scope:       entraScope,
		run: func(ctx context.Context, who string, a tokenParams) (tokens.Token, error) {
			return t.run(ctx, who, a, tenant)
		},
		described: described{subject: "the account that is signed in to " + t.program},
	}
	if tenant != "" {
		s.subject += ", in tenant " + tenant
	}
	return newCredential(t.name, s, azcore.ClientOptions{Transport: noTransport{}}, o.cache, o.logger, h)
}

// noTransport is the transport of a source that sends nothing.
type noTransport struct{ policy.Transporter }

// run gets a token from the program. Its error is an *AuthenticationFailedError, or a *CredentialUnavailableError if
// the program is not installed.
func (t *tool) run(ctx context.Context, who string, a tokenParams, tenant string) (result tokens.Token, err error) {
	fail := func(reason Reason, line string) (tokens.Token, error) {
		return tokens.Token{}, &AuthenticationFailedError{Reason: reason, message: who + ": " + line}
	}
	if strings.ContainsFunc(a.scope, func(r rune) bool { return r != ' ' && notInScope(r) }) {
		return fail(ReasonInvalidScope, "the scope has characters other than letters, digits and . - _ / :")
	}
	arguments, err := t.arguments(a, tenant)
	if err != nil {
		return fail("", err.Error())
	}
	path, err := exec.LookPath(t.program) // LookPath rejects a program in the current folder
	if err != nil {
		return tokens.Token{}, &CredentialUnavailableError{Reason: ReasonAbsent,
			message: who + ": the program " + t.program + " is not on the PATH; install it, or correct the PATH"}
	}
	output, stderr, err := runProgram(ctx, path, arguments)
	if err != nil {
		line := text.Quote(t.message(stderr))
		if _, exited := asType[*exec.ExitError](err); line == "" || !exited {
			line = text.Line(err.Error())
		}
		return fail("", line)
	}
	if result, err = t.read(output, time.Now()); err != nil {
		return fail(ReasonMalformedAnswer, err.Error())
	}
	return result, nil
}

func (t *tool) read(output []byte, now time.Time) (tokens.Token, error) {
	raw, expires, err := t.decode(output)
	switch {
	case err != nil || !answer.IsToken(raw) || expires.UTC().Year() > 9999:
		return tokens.Token{}, errors.New("the program's output is not the JSON of a token")
	case !now.Before(expires):
		return tokens.Token{}, errors.New("the program gave a token that has expired; check the clock of this machine")
	}
	return tokens.Token{AccessToken: azcore.AccessToken{Token: raw, ExpiresOn: expires.UTC()}}, nil
}

// runProgram runs a program without a shell, in the program's own folder, for toolLimit at most. It returns what the
// program writes, at most 1 MiB to each stream.
func runProgram(ctx context.Context, path string, arguments []string) (stdout []byte, stderr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, toolLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, arguments...)
	cmd.Env, cmd.Dir = os.Environ(), filepath.Dir(path)
	cmd.WaitDelay = time.Second // for a child process that keeps the output open
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

// cappedBuffer is a buffer of at most answer.MaxBody bytes. It calls full, which ends the program, when it would exceed
// that.
type cappedBuffer struct {
	content bytes.Buffer // not embedded, because its ReadFrom has no limit
	full    func()
}

func (b *cappedBuffer) Write(p []byte) (int, error) {
	if b.content.Len()+len(p) > answer.MaxBody {
		b.full()
		return 0, answer.ErrTooLarge
	}
	return b.content.Write(p)
}

func notInScope(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(".-_/:", r))
}

// toolLink is a developer's tool as one of several links. If the tool has no token, the chain asks its next link.
type toolLink struct{ *credential }

func (l *toolLink) GetToken(ctx context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	t, err := l.credential.GetToken(ctx, opts)
	if failed, ok := err.(*AuthenticationFailedError); ok && failed.cause == nil {
		err = &CredentialUnavailableError{Reason: failed.Reason, message: failed.message}
	}
	return t, err
}

func (l *toolLink) self() azcore.TokenCredential { return l }

func (l *toolLink) inChain() azcore.TokenCredential { return l }
