package managedid

import (
	"context"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid/internal/tokens"
)

// reconsider asks the links before the winner again, after one of them gave no answer. Its caller waits a short time
// for the result, and goes on with the winner if it takes longer.
func (c *ChainedTokenCredential) reconsider(ctx context.Context, w *winner, opts policy.TokenRequestOptions) {
	opts.Scopes = slices.Clone(opts.Scopes) // the caller may return before the goroutine, and change its slice
	c.record("the links before the chosen credential are asked again, since one of them had said nothing", w.link)
	done := make(chan struct{})
	go func() {
		defer close(done)
		// next stays this one if a link ends the goroutine.
		next := &winner{link: w.link, until: time.Now().Add(tokens.DefaultRefreshBefore)}
		defer func() { c.winner.CompareAndSwap(w, next) }()
		next = c.reconsidered(w, opts)
	}()
	wait(ctx, done, nil, time.Now().Add(tokens.UrgentWait))
}

// reconsidered returns the winner that replaces w.
func (c *ChainedTokenCredential) reconsidered(w *winner, opts policy.TokenRequestOptions) *winner {
	ctx, cancel := context.WithTimeout(context.Background(), tokens.FlightLimit)
	defer cancel()
	for i := range c.links {
		l := &c.links[i]
		if l == w.link {
			break
		}
		_, err := c.get(ctx, l, opts)
		if err == nil {
			c.record("credential chosen", l)
			return &winner{link: l}
		} else if isSilent(err) || !c.isUnavailable(err) {
			return &winner{link: w.link, until: time.Now().Add(tokens.DefaultRefreshBefore)}
		}
	}
	return &winner{link: w.link}
}
