package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/managedid/managedid"
)

type credentialKind int

const (
	systemAssigned credentialKind = iota
	userAssigned
	application
	credentialKinds
)

const (
	imdsName  = "IMDS"
	entraName = "Entra"
)

func (k credentialKind) String() string {
	return [...]string{"system-assigned identity", "user-assigned identity", "application"}[k]
}

func (k credentialKind) endpoint() string {
	if k == application {
		return entraName
	}
	return imdsName
}

// tryTimeout is shorter than the library's own, as are the pauses, so that more happens in a minute.
const tryTimeout = 4 * time.Second

// childConfig is what the process of the callers has to know. The addresses are in its environment.
type childConfig struct {
	Seed             uint64
	TenantID, Secret string
	ClientIDs        [credentialKinds]string
}

// credentials makes those of one caller: what they share, they share by the cache.
func (c childConfig) credentials(cache *managedid.TokenCache, r *recorder) (all [credentialKinds]azcore.TokenCredential, err error) {
	options := func(k credentialKind) (o azcore.ClientOptions) {
		o.PerRetryPolicies = []policy.Policy{observer{r, k}}
		o.Retry = policy.RetryOptions{MaxRetries: 4, RetryDelay: 300 * time.Millisecond, MaxRetryDelay: 3 * time.Second, TryTimeout: tryTimeout}
		return o
	}
	for k, id := range []managedid.ManagedIDKind{systemAssigned: nil, userAssigned: managedid.ClientID(c.ClientIDs[userAssigned])} {
		all[k], err = managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{
			ClientOptions: options(credentialKind(k)), Source: managedid.SourceIMDS, Cache: cache, ID: id})
		if err != nil {
			return all, err
		}
	}
	all[application], err = managedid.NewClientSecretCredential(c.TenantID, c.ClientIDs[application], c.Secret,
		&managedid.ClientSecretCredentialOptions{ClientOptions: options(application), Cache: cache})
	return all, err
}

type caller struct {
	number      int
	credentials [credentialKinds]azcore.TokenCredential
	judge       *judge
}

// work has all callers call until stop is closed, and returns when the last call has ended.
func work(members []*caller, seed, firstStream uint64, stop <-chan struct{}) {
	var stopped atomic.Pointer[time.Time]
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, member := range members {
		all.Go(func() {
			r := stream(seed, firstStream+uint64(member.number))
			for n := 0; ctx.Err() == nil; n++ {
				member.call(ctx, n, next(r), &stopped)
			}
		})
	}
	<-stop
	now := time.Now()
	stopped.Store(&now)
	cancel()
	all.Wait()
}

func (c *caller) call(all context.Context, n int, p plan, stopped *atomic.Pointer[time.Time]) {
	if !sleep(all, p.pause) {
		return
	}
	resource := fmt.Sprintf("https://resource-%02d.example", p.resource)
	scope := resource + "/.default"
	if c.number%2 == 1 && p.credential != application { // the same thing for managed identities
		scope = resource
	}
	done := call{name: fmt.Sprintf("caller %d call %d", c.number, n), key: key{p.credential, resource}, began: time.Now()}
	ctx, cancel := context.WithCancel(all)
	defer cancel()
	done.limit = done.began.Add(longest)
	if p.patience != endless {
		done.limit = done.began.Add(p.after)
	}
	if p.patience == deadline {
		var end context.CancelFunc
		ctx, end = context.WithDeadline(ctx, done.limit)
		defer end()
	} else if p.patience == leaving {
		defer time.AfterFunc(p.after, cancel).Stop()
	}
	done.token, done.err = c.credentials[p.credential].GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
	done.ended = time.Now()
	done.left = ctx.Err() != nil
	if at := stopped.Load(); at != nil {
		done.limit = earlier(done.limit, *at)
	}
	c.judge.check(done)
}

// sleep returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
