package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid"
)

// credentialKind is one of the credentials of a caller.
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

// tryTimeout is shorter than the library's default, like the retry delays, so that more happens in a minute.
const tryTimeout = 4 * time.Second

// childConfig is the configuration of the child. Its environment has the addresses.
type childConfig struct {
	Seed             uint64
	TenantID, Secret string
	ClientIDs        [credentialKinds]string
}

// clientOptions are the options of all credentials. A nil transport means the library's default.
func clientOptions(o observer, transport policy.Transporter) azcore.ClientOptions {
	return azcore.ClientOptions{
		PerRetryPolicies: []policy.Policy{o}, Transport: transport,
		Retry: policy.RetryOptions{
			MaxRetries: 4, RetryDelay: 300 * time.Millisecond, MaxRetryDelay: 3 * time.Second, TryTimeout: tryTimeout,
		},
	}
}

// credentials makes the credentials of one caller. Callers share tokens only through the cache.
func (c childConfig) credentials(
	cache *managedid.TokenCache, j *judge, transport policy.Transporter,
) (all [credentialKinds]azcore.TokenCredential, err error) {
	options := func(k credentialKind) azcore.ClientOptions {
		return clientOptions(observer{recorder: j.recorder, credential: k}, transport)
	}
	ids := []managedid.ManagedIDKind{systemAssigned: nil, userAssigned: managedid.ClientID(c.ClientIDs[userAssigned])}
	for k, id := range ids {
		all[k], err = managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{
			ClientOptions: options(credentialKind(k)), ID: id, Source: managedid.SourceIMDS, Cache: cache,
			Logger: j.logger,
		})
		if err != nil {
			return all, err
		}
	}
	all[application], err = c.secretCredential(cache, options(application), j.logger)
	return all, err
}

func (c childConfig) secretCredential(
	cache *managedid.TokenCache, o azcore.ClientOptions, logger *slog.Logger,
) (azcore.TokenCredential, error) {
	return managedid.NewClientSecretCredential(c.TenantID, c.ClientIDs[application], c.Secret,
		&managedid.ClientSecretCredentialOptions{ClientOptions: o, Cache: cache, Logger: logger})
}

// job runs until its context ends. stopped then holds the time of this, which limits the calls of the job.
type job func(ctx context.Context, stopped *atomic.Pointer[time.Time])

// work runs all jobs until stop is closed, and returns when they have ended.
func work(stop <-chan struct{}, jobs ...job) {
	var stopped atomic.Pointer[time.Time]
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, j := range jobs {
		all.Go(func() { j(ctx, &stopped) })
	}
	<-stop
	now := time.Now()
	stopped.Store(&now)
	cancel()
	all.Wait()
}

// caller is a goroutine that requests tokens.
type caller struct {
	number      int
	credentials [credentialKinds]azcore.TokenCredential
	judge       *judge
}

// calling returns a job for each caller. Each job calls until it is stopped.
func calling(members []*caller, seed, firstStream uint64) (jobs []job) {
	for _, c := range members {
		jobs = append(jobs, func(ctx context.Context, stopped *atomic.Pointer[time.Time]) {
			r := stream(seed, firstStream+uint64(c.number))
			for n := 0; ctx.Err() == nil; n++ {
				if p := next(r); sleep(ctx, p.pause) {
					c.judge.ask(ctx, stopped, c.planned(n, p))
				}
			}
		})
	}
	return jobs
}

func resourceOf(n int) string { return fmt.Sprintf("https://resource-%02d.example", n) }

func (c *caller) planned(n int, p plan) plannedCall {
	resource := resourceOf(p.resource)
	scope := resource + "/.default"
	// A managed identity treats both forms the same.
	if c.number%2 == 1 && p.credential != application {
		scope = resource
	}
	return plannedCall{name: fmt.Sprintf("caller %d call %d", c.number, n), plan: p, scope: scope,
		key: key{credential: p.credential, resource: resource}, credential: c.credentials[p.credential]}
}

// plannedCall is a call of GetToken before it starts.
type plannedCall struct {
	name       string // the caller, and the number of the call
	key        key
	credential azcore.TokenCredential
	scope      string
	plan       plan
}

// ask makes a call and checks it. The call ends early if parent ends.
func (j *judge) ask(parent context.Context, stopped *atomic.Pointer[time.Time], q plannedCall) {
	c, p := call{name: q.name, key: q.key, began: time.Now()}, q.plan
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	c.limit = c.began.Add(longest)
	if p.ending != endless {
		c.limit = c.began.Add(p.after)
	}
	if p.ending == deadline {
		var end context.CancelFunc
		ctx, end = context.WithDeadline(ctx, c.limit)
		defer end()
	} else if p.ending == cancelling {
		defer time.AfterFunc(p.after, cancel).Stop()
	}
	c.token, c.err = q.credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{q.scope}})
	c.ended = time.Now()
	c.contextEnded = ctx.Err() != nil
	if at := stopped.Load(); at != nil {
		c.limit = earlier(c.limit, *at)
	}
	j.check(c)
}

// sleep waits for the duration. It returns false if ctx ends first.
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
