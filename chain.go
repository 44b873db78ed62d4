package managedid

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid/internal/tokens"
)

// ChainedTokenCredentialOptions are the options of NewChainedTokenCredential. The zero value is the default.
type ChainedTokenCredentialOptions struct {
	// RetrySources makes the chain ask its links in turn at every call. False means that it stays with the first link
	// that gave a token.
	RetrySources bool
	// IsUnavailable tells whether an error of a link from another package means "not here, ask the next link".
	// Nil means that only a *CredentialUnavailableError does.
	IsUnavailable func(error) bool
	// Logger gets a record when a link is chosen. Nil means none.
	Logger *slog.Logger
}

// ChainedTokenCredential asks several credentials in turn until one gives a token, then stays with it. It goes on to
// the next link only where one is unavailable; any other error ends the search, since another identity's token would be
// the wrong one. It is safe for concurrent use.
type ChainedTokenCredential struct {
	name    string
	options ChainedTokenCredentialOptions
	links   []link
	hint    string // what else to try when all links are unavailable
	log     recorder
	winner  atomic.Pointer[winner]
}

// winner is the link that the chain stays with.
type winner struct {
	*link
	// Behind a link that said nothing, which proves no absence, it is only kept until its token is refreshed. Zero:
	// for ever.
	until time.Time
	again atomic.Bool // the links before it are being asked again
}

var _ azcore.TokenCredential = (*ChainedTokenCredential)(nil)

// Format prints the type alone, with every verb: the rest changes while the credential is in use.
func (c *ChainedTokenCredential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.name) }

type link struct {
	azcore.TokenCredential
	own *credential // for hits without detours; nil for links of other packages
	// turn has one place. Links of other packages may not know of each other's callers, so that they are asked
	// by one goroutine at a time; nil for our own.
	turn chan struct{}
}

// chainable is what this package's credentials are to a chain of several links.
type chainable interface{ inChain() azcore.TokenCredential }

// ours returns a credential of this package, nil for any other: also for one that embeds ours, whose GetToken may be
// another.
func ours(s azcore.TokenCredential) chainable {
	switch s.(type) {
	case *credential, *ManagedIdentityCredential, *WorkloadIdentityCredential, *EnvironmentCredential, *ClientSecretCredential,
		*ClientCertificateCredential, *ClientAssertionCredential, *AzureCLICredential, *AzureDeveloperCLICredential, toolLink,
		*ChainedTokenCredential, *DefaultAzureCredential, failingLink:
		return s.(chainable)
	}
	return nil
}

func newLink(s azcore.TokenCredential, several bool) link {
	l := link{TokenCredential: s}
	c := ours(s)
	if c == nil {
		l.turn = make(chan struct{}, 1)
		return l
	} else if several {
		l.TokenCredential = c.inChain()
	}
	if c, ok := l.TokenCredential.(interface{ base() *credential }); ok {
		l.own = c.base()
	}
	return l
}

// NewChainedTokenCredential makes a chain of the given credentials, of which there must be one at least. It doesn't
// change them. Pass nil for default options.
func NewChainedTokenCredential(sources []azcore.TokenCredential, options *ChainedTokenCredentialOptions) (*ChainedTokenCredential, error) {
	c := &ChainedTokenCredential{name: "ChainedTokenCredential"}
	if options != nil {
		c.options, c.log = *options, recorder{options.Logger}
	}
	if len(sources) == 0 {
		return nil, misconfigured("ChainedTokenCredential", "sources must contain at least one credential")
	}
	for _, s := range sources {
		if s == nil || reflect.ValueOf(s).Kind() == reflect.Pointer && reflect.ValueOf(s).IsNil() {
			return nil, misconfigured("ChainedTokenCredential", "sources must not contain nil")
		}
		c.links = append(c.links, newLink(s, len(sources) > 1))
	}
	return c, nil
}

// GetToken returns the token of the first link that has one. Where all links are unavailable, the error is a
// *CredentialUnavailableError with the error of each.
func (c *ChainedTokenCredential) GetToken(ctx context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	w := c.winner.Load()
	if w == nil {
		return c.search(ctx, opts)
	}
	if t := c.hit(&opts); t != nil {
		return t.AccessToken, nil
	}
	if !w.until.IsZero() && !time.Now().Before(w.until) && w.again.CompareAndSwap(false, true) {
		c.reconsider(ctx, w, opts)
	}
	return c.get(ctx, c.winner.Load().link, opts)
}

// get asks a link. The panic of one from another package is an error, which ends the search.
func (c *ChainedTokenCredential) get(ctx context.Context, l *link, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if l.turn == nil {
		return l.GetToken(ctx, opts)
	}
	t, err := guard(c.log, fmt.Sprintf("the link %T", l.TokenCredential), nil, func() (azcore.AccessToken, error) { return l.GetToken(ctx, opts) })
	if crashed, ok := err.(crash); ok {
		err = crashed.of(c.name)
	}
	return t, err
}

// hit returns the winner's cached token where it is fresh, else nil.
func (c *ChainedTokenCredential) hit(opts *policy.TokenRequestOptions) *tokens.Token {
	if w := c.winner.Load(); w != nil && w.own != nil {
		return w.own.hit(opts)
	}
	return nil
}

func (c *ChainedTokenCredential) search(ctx context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	unavailable := &CredentialUnavailableError{Reason: ReasonConfiguration}
	var lines, unconfigured []string // a person who looks for the cause hardly means what was never set up
	silent := false
	for i := range c.links {
		t, err := c.ask(ctx, &c.links[i], opts, silent)
		if err == nil {
			return t, nil
		}
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return t, err
		} else if ctx.Err() != nil && c.isUnavailable(err) { // passed over, so its reason explains nothing
			return t, c.ended(ctx)
		} else if ctx.Err() != nil {
			return t, &AuthenticationFailedError{Reason: ReasonOf(err), message: c.name + ": " + lineOf(err) + ": " + ctx.Err().Error(), cause: ctx.Err()}
		}
		if !c.isUnavailable(err) {
			return t, err
		}
		silent = silent || isSilent(err)
		unavailable.Links = append(unavailable.Links, err)
		if reason := ReasonOf(err); reason == ReasonConfiguration {
			unconfigured = append(unconfigured, lineOf(err))
		} else {
			if unavailable.Reason == ReasonConfiguration {
				unavailable.Reason = cmp.Or(reason, ReasonAbsent)
			}
			lines = append(lines, lineOf(err))
		}
	}
	lines = append(lines, unconfigured...)
	if c.hint != "" {
		lines = append(lines, c.hint)
	}
	unavailable.message = c.name + ": no credential is available: " + strings.Join(lines, "; ")
	return azcore.AccessToken{}, unavailable
}

func (c *ChainedTokenCredential) ended(ctx context.Context) error {
	return &AuthenticationFailedError{message: c.name + ": the caller's context ended: " + ctx.Err().Error(), cause: ctx.Err()}
}

// isSilent tells whether an error that makes a chain go on is that of an endpoint that said nothing.
func isSilent(err error) bool {
	e, ok := errors.AsType[*CredentialUnavailableError](err)
	return ok && e != nil && (e.silent || slices.ContainsFunc(e.Links, isSilent))
}

// ask gets a token from one link, and keeps the link that gave the first one. silent: a link before it said nothing.
func (c *ChainedTokenCredential) ask(ctx context.Context, l *link, opts policy.TokenRequestOptions, silent bool) (azcore.AccessToken, error) {
	release := func() {}
	if l.turn != nil && !c.options.RetrySources {
		select {
		case l.turn <- struct{}{}:
			release = sync.OnceFunc(func() { <-l.turn })
		case <-ctx.Done():
			return azcore.AccessToken{}, c.ended(ctx)
		}
	}
	defer release()
	if w := c.winner.Load(); w != nil { // found meanwhile; all may ask it at once
		release()
		return c.get(ctx, w.link, opts)
	}
	t, err := c.get(ctx, l, opts)
	if err != nil || c.options.RetrySources {
		return t, err
	}
	chosen := c.winner.CompareAndSwap(nil, winnerWith(l, t, silent))
	if w := c.winner.Load(); w.link != l { // another link won meanwhile: a chain has one identity
		release()
		return c.get(ctx, w.link, opts)
	}
	if chosen {
		release() // a handler may be slow, or need a token itself
		c.record("credential chosen", l)
	}
	return t, nil
}

// winnerWith makes a link the winner, with its first token.
func winnerWith(l *link, t azcore.AccessToken, silent bool) *winner {
	w := &winner{link: l}
	if silent {
		if w.until = t.RefreshOn; w.until.IsZero() {
			w.until = t.ExpiresOn.Add(-tokens.DefaultRefreshBefore)
		}
	}
	return w
}

func (c *ChainedTokenCredential) record(message string, l *link) {
	if l.own != nil {
		c.log.write(slog.LevelInfo, message, append([]any{"chain", c.name}, l.own.attributes()...)...)
	} else {
		c.log.write(slog.LevelInfo, message, "chain", c.name, "credential", fmt.Sprintf("%T", l.TokenCredential))
	}
}

func (c *ChainedTokenCredential) isUnavailable(err error) bool {
	if _, ok := errors.AsType[*CredentialUnavailableError](err); ok {
		return true
	}
	if c.options.IsUnavailable == nil {
		return false
	}
	unavailable, _ := guard(c.log, "IsUnavailable", nil, func() (bool, error) { return c.options.IsUnavailable(err), nil })
	return unavailable
}

// inChain makes the links of a chain within a chain as brief as those around it.
func (c *ChainedTokenCredential) inChain() azcore.TokenCredential {
	outer := &ChainedTokenCredential{name: c.name, options: c.options, hint: c.hint, log: c.log}
	for _, l := range c.links {
		if l.turn == nil {
			l = newLink(l.TokenCredential, true)
		}
		outer.links = append(outer.links, l)
	}
	return outer
}
