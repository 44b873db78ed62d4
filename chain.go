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
	// RetrySources makes the chain ask its links in turn at every call. False keeps the first link that gave a token.
	RetrySources bool
	// IsUnavailable reports whether an error of a link means "not available here, ask the next link". It lets links of
	// other packages take part with their own errors. Nil means that only a *CredentialUnavailableError means this.
	IsUnavailable func(error) bool
	// Logger gets a record when the chain chooses a link. Nil means no records.
	Logger *slog.Logger
}

// ChainedTokenCredential asks its links in turn until one gives a token, then stays with that link. It goes on to the
// next link only if a link is unavailable. Any other error ends the search, because a later link would give the token
// of another identity. A ChainedTokenCredential is safe for concurrent use.
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
	// until is when the links before this one, of which one gave no answer, are asked again. Zero means never.
	until         time.Time
	reconsidering atomic.Bool // the links before it are being asked again
}

var _ azcore.TokenCredential = (*ChainedTokenCredential)(nil)

// Format prints only the name of the type, whatever the verb. The rest changes while the credential is in use.
func (c *ChainedTokenCredential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, nameChained) }

type link struct {
	azcore.TokenCredential
	credential *credential // for cache hits without GetToken; nil for links of other packages
	// turn lets one goroutine at a time ask a link of another package. It is nil for links of this package.
	turn chan struct{}
}

// member is what the credentials of this package implement for chains.
type member interface {
	azcore.TokenCredential
	// self returns the receiver. A type of another package that embeds a credential inherits the method, but self
	// doesn't return that type, whose GetToken may differ.
	self() azcore.TokenCredential
	// inChain returns the credential to use as one of several links.
	inChain() azcore.TokenCredential
}

func newLink(s azcore.TokenCredential, several bool) link {
	l := link{TokenCredential: s}
	m, ok := s.(member)
	if !ok || m.self() != s {
		l.turn = make(chan struct{}, 1)
		return l
	}
	if c, ok := s.(interface{ base() *credential }); ok && c.base() == nil { // the zero value; its GetToken says so
		return l
	}
	if several {
		l.TokenCredential = m.inChain()
	}
	if c, ok := l.TokenCredential.(interface{ base() *credential }); ok {
		l.credential = c.base()
	}
	return l
}

// NewChainedTokenCredential returns a chain of the given credentials, in order. There must be at least one, and none
// may be nil. It doesn't change them. Nil options mean defaults.
func NewChainedTokenCredential(
	sources []azcore.TokenCredential, options *ChainedTokenCredentialOptions,
) (*ChainedTokenCredential, error) {
	var o ChainedTokenCredentialOptions
	if options != nil {
		o = *options
	}
	if len(sources) == 0 {
		return nil, misconfigured(nameChained, "sources must contain at least one credential")
	}
	for _, s := range sources {
		if s == nil || reflect.ValueOf(s).Kind() == reflect.Pointer && reflect.ValueOf(s).IsNil() {
			return nil, misconfigured(nameChained, "sources must not contain nil")
		}
	}
	return newChain(nameChained, sources, o, ""), nil
}

// newChain returns a chain. hint says what else the user can do if all links are unavailable.
func newChain(
	name string, sources []azcore.TokenCredential, o ChainedTokenCredentialOptions, hint string,
) *ChainedTokenCredential {
	c := &ChainedTokenCredential{name: name, options: o, hint: hint, log: recorder{o.Logger}}
	for _, s := range sources {
		c.links = append(c.links, newLink(s, len(sources) > 1))
	}
	return c
}

// GetToken returns the token of the first link that has one. If all links are unavailable, the error is a
// *CredentialUnavailableError with the error of each link. Any other error of a link ends the search and is returned.
func (c *ChainedTokenCredential) GetToken(
	ctx context.Context, opts policy.TokenRequestOptions,
) (azcore.AccessToken, error) {
	w := c.winner.Load()
	if w == nil && len(c.links) == 0 {
		return azcore.AccessToken{}, notMade(nameChained)
	} else if w == nil {
		return c.search(ctx, opts)
	}
	if t := c.hit(&opts); t != nil {
		return t.AccessToken, nil
	}
	if !w.until.IsZero() && !time.Now().Before(w.until) && w.reconsidering.CompareAndSwap(false, true) {
		c.reconsider(ctx, w, opts)
	}
	return c.get(ctx, c.winner.Load().link, opts)
}

// get asks a link. If a link of another package panics, get returns an error that ends the search.
func (c *ChainedTokenCredential) get(
	ctx context.Context, l *link, opts policy.TokenRequestOptions,
) (azcore.AccessToken, error) {
	if l.turn == nil {
		return l.GetToken(ctx, opts)
	}
	t, err := guard(c.log, fmt.Sprintf("the link %T", l.TokenCredential), nil,
		func() (azcore.AccessToken, error) { return l.GetToken(ctx, opts) })
	if crashed, ok := err.(crash); ok {
		err = crashed.failure(c.name)
	}
	return t, err
}

// hit returns the winner's cached token if it is fresh, else nil.
func (c *ChainedTokenCredential) hit(opts *policy.TokenRequestOptions) *tokens.Token {
	if w := c.winner.Load(); w != nil && w.credential != nil {
		return w.credential.hit(opts)
	}
	return nil
}

func (c *ChainedTokenCredential) search(
	ctx context.Context, opts policy.TokenRequestOptions,
) (azcore.AccessToken, error) {
	unavailable := &CredentialUnavailableError{Reason: ReasonConfiguration}
	// unconfigured has the errors of links without any configuration. They come last, since they are rarely the cause.
	var lines, unconfigured []string
	silent := false
	for i := range c.links {
		t, err := c.tokenFrom(ctx, &c.links[i], opts, silent)
		if err == nil {
			return t, nil
		}
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return t, err
		} else if ctx.Err() != nil && c.isUnavailable(err) { // the chain would go on anyway
			return t, c.ended(ctx)
		} else if ctx.Err() != nil {
			return t, &AuthenticationFailedError{Reason: ReasonOf(err),
				message: c.name + ": " + lineOf(err) + ": " + ctx.Err().Error(), cause: ctx.Err()}
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
	return &AuthenticationFailedError{message: c.name + ": the caller's context ended: " + ctx.Err().Error(),
		cause: ctx.Err()}
}

// isSilent reports whether an endpoint gave no answer, which doesn't prove that it is absent.
func isSilent(err error) bool {
	e, ok := asType[*CredentialUnavailableError](err)
	return ok && e != nil && (e.silent || slices.ContainsFunc(e.Links, isSilent))
}

// tokenFrom gets a token from one link, and keeps the first that gives one. silent: a link before it gave no answer.
func (c *ChainedTokenCredential) tokenFrom(
	ctx context.Context, l *link, opts policy.TokenRequestOptions, silent bool,
) (azcore.AccessToken, error) {
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
	if w := c.winner.Load(); w != nil { // another goroutine found it meanwhile; many may ask the winner at once
		release()
		return c.get(ctx, w.link, opts)
	}
	t, err := c.get(ctx, l, opts)
	if err != nil || c.options.RetrySources {
		return t, err
	}
	chosen := c.winner.CompareAndSwap(nil, winnerWith(l, t, silent))
	if w := c.winner.Load(); w.link != l { // another link won meanwhile; a chain has one identity
		release()
		return c.get(ctx, w.link, opts)
	}
	if chosen {
		release() // release first: the log handler may be slow, or need a token itself
		c.record("credential chosen", l)
	}
	return t, nil
}

// winnerWith returns the winner for a link that gave its first token.
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
	if l.credential != nil {
		c.log.write(slog.LevelInfo, message, append([]any{"chain", c.name}, l.credential.attributes()...)...)
	} else {
		c.log.write(slog.LevelInfo, message, "chain", c.name, "credential", fmt.Sprintf("%T", l.TokenCredential))
	}
}

func (c *ChainedTokenCredential) isUnavailable(err error) bool {
	if _, ok := asType[*CredentialUnavailableError](err); ok {
		return true
	}
	if c.options.IsUnavailable == nil {
		return false
	}
	unavailable, _ := guard(c.log, "IsUnavailable", nil,
		func() (bool, error) { return c.options.IsUnavailable(err), nil })
	return unavailable
}

func (c *ChainedTokenCredential) self() azcore.TokenCredential { return c }

// inChain returns the chain as a link of an outer chain. Its links then don't wait for an absent endpoint.
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
