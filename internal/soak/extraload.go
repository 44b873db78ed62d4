package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/managedid/managedid"
)

const swarmPrefix = "https://swarm-"

// isSwarmResource reports whether only swarms request tokens of the resource.
func isSwarmResource(resource string) bool { return strings.HasPrefix(resource, swarmPrefix) }

// extraLoad makes calls besides those of the callers: swarms of calls that leave together, and calls of dropped
// credentials.
type extraLoad struct {
	config  childConfig
	cache   *managedid.TokenCache
	members []*caller // swarms use their credentials
	judge   *judge
	swarms  int // read after all jobs have ended, like dropped
	dropped int
}

// swarm starts many calls at once, repeatedly. Half of them have a deadline, and the others are cancelled.
func (c *extraLoad) swarm(ctx context.Context, stopped *atomic.Pointer[time.Time]) {
	r := stream(c.config.Seed, swarmStream)
	for {
		after, p := nextSwarm(r)
		if !sleep(ctx, after) {
			return
		}
		c.swarms++
		member := c.members[r.IntN(len(c.members))]
		var all sync.WaitGroup
		for n := range swarm {
			p := p
			p.ending = []ending{deadline, cancelling}[n%2]
			resource := swarmResource(r, p.credential)
			all.Go(func() {
				c.judge.ask(ctx, stopped, plannedCall{name: fmt.Sprintf("swarm %d call %d", c.swarms, n), plan: p,
					credential: member.credentials[p.credential], scope: resource + "/.default",
					key: key{credential: p.credential, resource: resource}})
			})
		}
		all.Wait()
	}
}

// swarmResource returns a random resource. There are fewer at Entra, since its tokens live for minutes and all of them
// are cached.
func swarmResource(r *rand.Rand, k credentialKind) string {
	n := swarmResources
	if k.endpoint() == entraName {
		n = swarmResources / 5
	}
	return fmt.Sprintf("%s%03d.example", swarmPrefix, r.IntN(n))
}

// drop makes credentials of an application with an unknown tenant or secret. It uses two thirds of them once, and drops
// them.
func (c *extraLoad) drop(ctx context.Context, stopped *atomic.Pointer[time.Time]) {
	r := stream(c.config.Seed, droppedStream)
	var all sync.WaitGroup
	defer all.Wait()
	for sleep(ctx, between(r, 100*time.Millisecond, 500*time.Millisecond)) {
		c.dropped++
		q, err := c.dropOne(r)
		if err != nil {
			c.judge.add("credentials can be made", "%v", err)
		} else if r.IntN(3) > 0 {
			all.Go(func() { c.judge.ask(ctx, stopped, q) })
		}
	}
}

// dropOne makes a credential and returns a call of it.
func (c *extraLoad) dropOne(r *rand.Rand) (q plannedCall, err error) {
	config, o := c.config, observer{recorder: c.judge.recorder, credential: application}
	if r.IntN(2) == 0 {
		config.TenantID = fmt.Sprintf("%08x-0000-4000-8000-%012x", r.Uint32(), c.dropped)
		o.dropped, o.gate = fmt.Sprintf(" %d in another tenant", c.dropped), newEntraGate()
	} else {
		config.Secret = fmt.Sprintf("%s secret %d %d", forbiddenText, r.Uint64(), c.dropped)
		o.dropped = fmt.Sprintf(" %d with another secret", c.dropped)
	}
	resource := resourceOf(r.IntN(resources))
	q = plannedCall{name: fmt.Sprintf("dropped credential %d", c.dropped), scope: resource + "/.default",
		key:  key{application, o.dropped, resource},
		plan: plan{ending: deadline, after: between(r, 100*time.Millisecond, 2*time.Second)}}
	q.credential, err = config.secretCredential(c.cache, clientOptions(o, nil), c.judge.logger)
	return q, err
}
