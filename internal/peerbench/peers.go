package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/managedidentity"
	"golang.org/x/oauth2"

	"github.com/managedid/managedid"
)

// library makes credentials as its documentation has it: one that lives long. All get the same client.
type library struct {
	name  string
	alone maker // of the host's managed identity
	chain maker // of the default chain; nil: it has none
	// first makes a chain of the managed identity and another link; nil: it has none.
	first func(via *http.Client, otherwise azcore.TokenCredential) (azcore.TokenCredential, error)
	// before is how long before its expiry it replaces a token.
	before time.Duration
	// holdsLock: a mutex is held during a request, at which the clock of a synctest bubble stands still.
	holdsLock bool
}

// maker makes a credential.
type maker func(via *http.Client) (azcore.TokenCredential, error)

const (
	ours   = "managedid"
	theirs = "azidentity"
	msal   = "MSAL Go"
	reuse  = "x/oauth2"
	floors = "floor"
)

var libraries = []library{
	{name: ours, alone: newManagedid, chain: newManagedidDefault, first: newManagedidChain, before: 5 * time.Minute},
	{name: theirs, alone: newAzidentity, chain: newAzidentityDefault, first: newAzidentityChain,
		before: 5 * time.Minute},
	{name: msal, alone: newMSAL, before: 5 * time.Minute},
	{name: reuse, alone: newOAuth2, before: 10 * time.Second, holdsLock: true},
}

// newManagedid refreshes at a time that is known beforehand, without the random part.
func newManagedid(via *http.Client) (azcore.TokenCredential, error) {
	return managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: via},
		Cache:         managedid.NewTokenCache(&managedid.TokenCacheOptions{RefreshBefore: 5 * time.Minute})})
}

func newManagedidDefault(via *http.Client) (azcore.TokenCredential, error) {
	return managedid.NewDefaultAzureCredential(&managedid.DefaultAzureCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: via}})
}

func newManagedidChain(via *http.Client, otherwise azcore.TokenCredential) (azcore.TokenCredential, error) {
	c, err := newManagedid(via)
	if err != nil {
		return nil, err
	}
	return managedid.NewChainedTokenCredential([]azcore.TokenCredential{c, otherwise}, nil)
}

func newAzidentity(via *http.Client) (azcore.TokenCredential, error) {
	return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: via}})
}

func newAzidentityDefault(via *http.Client) (azcore.TokenCredential, error) {
	return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: via}})
}

func newAzidentityChain(via *http.Client, otherwise azcore.TokenCredential) (azcore.TokenCredential, error) {
	c, err := newAzidentity(via)
	if err != nil {
		return nil, err
	}
	return azidentity.NewChainedTokenCredential([]azcore.TokenCredential{c, otherwise}, nil)
}

type msalCredential struct{ managedidentity.Client }

func newMSAL(via *http.Client) (azcore.TokenCredential, error) {
	c, err := managedidentity.New(managedidentity.SystemAssigned(), managedidentity.WithHTTPClient(via))
	return msalCredential{c}, err
}

func (c msalCredential) GetToken(ctx context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	got, err := c.AcquireToken(ctx, opts.Scopes[0])
	return azcore.AccessToken{Token: got.AccessToken, ExpiresOn: got.ExpiresOn}, err
}

// oauth2Credential has a source for each scope, since one keeps one token.
type oauth2Credential struct {
	via     *http.Client
	sources sync.Map // scope → oauth2.TokenSource
}

func newOAuth2(via *http.Client) (azcore.TokenCredential, error) {
	return &oauth2Credential{via: via}, nil
}

func (c *oauth2Credential) GetToken(_ context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	scope := opts.Scopes[0]
	s, ok := c.sources.Load(scope)
	if !ok {
		source := metadata{c.via, strings.TrimSuffix(scope, "/.default")}
		s, _ = c.sources.LoadOrStore(scope, oauth2.ReuseTokenSource(nil, source))
	}
	t, err := s.(oauth2.TokenSource).Token()
	if err != nil {
		return azcore.AccessToken{}, err
	}
	return azcore.AccessToken{Token: t.AccessToken, ExpiresOn: t.Expiry}, nil
}

// metadata is the least that a user of x/oauth2 has to write: one request, at App Service's endpoint or at IMDS.
type metadata struct {
	via      *http.Client
	resource string
}

func (m metadata) Token() (*oauth2.Token, error) {
	endpoint := "http://169.254.169.254/metadata/identity/oauth2/token"
	query := url.Values{"api-version": {"2018-02-01"}, "resource": {m.resource}}
	if v := os.Getenv("IDENTITY_ENDPOINT"); v != "" {
		endpoint = v
		query.Set("api-version", "2019-08-01")
	}
	req, err := http.NewRequest(http.MethodGet, endpoint+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Metadata", "true")
	req.Header.Set("X-Identity-Header", os.Getenv("IDENTITY_HEADER"))
	resp, err := m.via.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresOn   int64  `json:"expires_on,string"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: answer.AccessToken, Expiry: time.Unix(answer.ExpiresOn, 0)}, nil
}
