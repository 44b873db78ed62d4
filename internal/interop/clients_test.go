package interop

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/managedidentity"

	"github.com/managedid/managedid/managedidtest"
)

var user = managedidtest.Identity{ClientID: "0b4ff0a1-0000-4000-8000-00000000000c", ObjectID: "0b4ff0a1-0000-4000-8000-00000000000b",
	ResourceID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"}

// The kinds of identity that a client may name.
const (
	system = iota
	byClientID
	byObjectID
	byResourceID
)

var kinds = [...]string{"system-assigned", "client ID", "object ID", "resource ID"}

// idOf is the ID of user, of a kind.
func idOf(kind int) string {
	return [...]string{"", user.ClientID, user.ObjectID, user.ResourceID}[kind]
}

// client is a library that gets managed identities' tokens, over its own HTTP client or the one given.
type client struct {
	name string
	new  func(kind int, via *http.Client) (ask, error)
}

type ask func(ctx context.Context, resource string) (token string, expires time.Time, err error)

var resources atomic.Int64

// newResource is one that was never asked for before, since libraries cache for the process.
func newResource() string { return fmt.Sprintf("https://%d.example", resources.Add(1)) }

var clients = []client{{"azidentity", newAzidentity}, {"MSAL", newMSAL}}

func newAzidentity(kind int, via *http.Client) (ask, error) {
	o := &azidentity.ManagedIdentityCredentialOptions{ID: [...]azidentity.ManagedIDKind{nil, azidentity.ClientID(user.ClientID),
		azidentity.ObjectID(user.ObjectID), azidentity.ResourceID(user.ResourceID)}[kind]}
	if via != nil {
		o.ClientOptions = azcore.ClientOptions{Transport: via}
	}
	c, err := azidentity.NewManagedIdentityCredential(o)
	return func(ctx context.Context, resource string) (string, time.Time, error) {
		got, err := c.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
		return got.Token, got.ExpiresOn, err
	}, err
}

func newMSAL(kind int, via *http.Client) (ask, error) {
	var o []managedidentity.ClientOption
	if via != nil {
		o = append(o, managedidentity.WithHTTPClient(via))
	}
	c, err := managedidentity.New([...]managedidentity.ID{managedidentity.SystemAssigned(), managedidentity.UserAssignedClientID(user.ClientID),
		managedidentity.UserAssignedObjectID(user.ObjectID), managedidentity.UserAssignedResourceID(user.ResourceID)}[kind], o...)
	return func(ctx context.Context, resource string) (string, time.Time, error) {
		got, err := c.AcquireToken(ctx, resource)
		return got.AccessToken, got.ExpiresOn, err
	}, err
}
