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

// clientOptions are those of all credentials. Without a transport of the user's, the library's own is used.
func clientOptions(o observer, transport policy.Transporter) azcore.ClientOptions {
	return azcore.ClientOptions{
		PerRetryPolicies: []policy.Policy{o}, Transport: transport,
		Retry: policy.RetryOptions{
			MaxRetries: 4, RetryDelay: 300 * time.Millisecond, MaxRetryDelay: 3 * time.Second, TryTimeout: tryTimeout,
		},
	}
}

// credentials makes those of one caller: what they share, they share by the cache.
func (c childConfig) credentials(
	cache *managedid.TokenCache, j *judge, transport policy.Transporter,
) (all [credentialKinds]azcore.TokenCredential, err error) {
	options := func(k credentialKind) azcore.ClientOptions {
		return clientOptions(observer{recorder: j.recorder, credential: k}, transport)
	}
	ids := []managedid.ManagedIDKind{systemAssigned: nil, userAssigned: managedid.ClientID(c.ClientIDs[userAssigned])}
	for k, id := range ids {
		all[k], err = managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{
			ClientOptions: options(credentialKind(k)), ID: id, Source: managedid.SourceIMDS, Cache: cache, Logger: j.logger,
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

// job is work that lasts until its context ends, at a time that calls of then find in stopped.
type job func(ctx context.Context, stopped *atomic.Pointer[time.Time])

// work does all jobs until stop is closed, and returns when they have ended.
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

type caller struct {
	number      int
	credentials [credentialKinds]azcore.TokenCredential
	judge       *judge
}

// calling has all callers call.
func calling(members []*caller, seed, firstStream uint64) (jobs []job) {
	for _, c := range members {
		jobs = append(jobs, func(ctx context.Context, stopped *atomic.Pointer[time.Time]) {
			r := stream(seed, firstStream+uint64(c.number))
			for n := 0; ctx.Err() == nil; n++ {
				if p := next(r); sleep(ctx, p.pause) {
					c.judge.ask(ctx, stopped, c.question(n, p))
				}
			}
		})
	}
	return jobs
}

func resourceOf(n int) string { return fmt.Sprintf("https://resource-%02d.example", n) }

func (c *caller) question(n int, p plan) question {
	resource := resourceOf(p.resource)
	scope := resource + "/.default"
	if c.number%2 == 1 && p.credential != application { // the same thing for managed identities
		scope = resource
	}
	return question{name: fmt.Sprintf("caller %d call %d", c.number, n), plan: p, scope: scope,
		key: key{credential: p.credential, resource: resource}, credential: c.credentials[p.credential]}
}

// question is a call to be.
type question struct {
	name       string // the caller, and the number of its call
	key        key
	credential azcore.TokenCredential
	scope      string
	plan       plan
}

// ask calls, and has the call judged.
func (j *judge) ask(all context.Context, stopped *atomic.Pointer[time.Time], q question) {
	done, p := call{name: q.name, key: q.key, began: time.Now()}, q.plan
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
	done.token, done.err = q.credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{q.scope}})
	done.ended = time.Now()
	done.left = ctx.Err() != nil
	if at := stopped.Load(); at != nil {
		done.limit = earlier(done.limit, *at)
	}
	j.check(done)
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
