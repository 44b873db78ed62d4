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

func isOfSwarm(resource string) bool { return strings.HasPrefix(resource, swarmPrefix) }

// crowd are those who come once: swarms of calls that leave together, and credentials that are dropped.
type crowd struct {
	config  childConfig
	cache   *managedid.TokenCache
	members []*caller // whose credentials the swarms use
	judge   *judge
	swarms  int // read when all has ended, as is dropped
	dropped int
}

// swarm has many calls come at once, again and again. Half of them have deadlines; the others are cancelled.
func (c *crowd) swarm(ctx context.Context, stopped *atomic.Pointer[time.Time]) {
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
			p.patience = []patience{deadline, leaving}[n%2]
			resource := swarmResource(r, p.credential)
			all.Go(func() {
				c.judge.ask(ctx, stopped, question{name: fmt.Sprintf("swarm %d call %d", c.swarms, n), plan: p,
					credential: member.credentials[p.credential], scope: resource + "/.default",
					key: key{credential: p.credential, resource: resource}})
			})
		}
		all.Wait()
	}
}

// swarmResource is one of fewer at Entra, where tokens live for minutes, and would all be kept.
func swarmResource(r *rand.Rand, k credentialKind) string {
	n := swarmResources
	if k.endpoint() == entraName {
		n = swarmResources / 5
	}
	return fmt.Sprintf("%s%03d.example", swarmPrefix, r.IntN(n))
}

// drop makes credentials of an application with a tenant or a secret that are not known, and uses most of them once.
func (c *crowd) drop(ctx context.Context, stopped *atomic.Pointer[time.Time]) {
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

// dropOne makes a credential, and returns a call of it.
func (c *crowd) dropOne(r *rand.Rand) (q question, err error) {
	who, seen := c.config, observer{recorder: c.judge.recorder, credential: application}
	if r.IntN(2) == 0 {
		who.TenantID = fmt.Sprintf("%08x-0000-4000-8000-%012x", r.Uint32(), c.dropped)
		seen.dropped, seen.door = fmt.Sprintf(" %d in another tenant", c.dropped), newEntraDoor()
	} else {
		who.Secret = fmt.Sprintf("%s secret %d %d", unspeakable, r.Uint64(), c.dropped)
		seen.dropped = fmt.Sprintf(" %d with another secret", c.dropped)
	}
	resource := resourceOf(r.IntN(resources))
	q = question{name: fmt.Sprintf("dropped credential %d", c.dropped), scope: resource + "/.default",
		key:  key{application, seen.dropped, resource},
		plan: plan{patience: deadline, after: between(r, 100*time.Millisecond, 2*time.Second)}}
	q.credential, err = who.secretCredential(c.cache, clientOptions(seen, nil), c.judge.logger)
	return q, err
}
