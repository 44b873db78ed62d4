package main

import (
	"context"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/redis/go-redis/v9/auth"
)

// provider gives each new connection the current token, and those that are open the next one when it is there.
type provider struct {
	cred     azcore.TokenCredential
	objectID string
	open     sync.Map // auth.CredentialsListener → the last token that it was given
}

func newProvider(cred azcore.TokenCredential, objectID string) *provider {
	p := &provider{cred: cred, objectID: objectID}
	go p.watch() // until the process ends
	return p
}

func (p *provider) token() (string, error) {
	t, err := p.cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://redis.azure.com/.default"}})
	return t.Token, err
}

// Subscribe is called by each new connection.
func (p *provider) Subscribe(l auth.CredentialsListener) (auth.Credentials, auth.UnsubscribeFunc, error) {
	token, err := p.token()
	if err != nil {
		return nil, nil, err
	}
	p.open.Store(l, token)
	return auth.NewBasicCredentials(p.objectID, token), func() error { p.open.Delete(l); return nil }, nil
}

// watch asks for the token each second, which costs next to nothing: it is cached, and refreshed long before its end.
func (p *provider) watch() {
	for range time.Tick(time.Second) {
		token, err := p.token()
		if err != nil {
			continue // open connections end with their last token, and new ones say why
		}
		p.open.Range(func(l, last any) bool {
			if last != token && p.open.CompareAndSwap(l, last, token) {
				l.(auth.CredentialsListener).OnNext(auth.NewBasicCredentials(p.objectID, token))
			}
			return true
		})
	}
}
