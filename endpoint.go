package managedid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"unicode"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/managedid/managedid/internal/text"
)

// hostEndpoint is an endpoint whose address and secret are in environment variables of the host. The platform rotates
// the secret. Each request therefore reads both variables together, so that the secret goes only where the host says.
type hostEndpoint struct {
	address, secret string // the names of the variables
	header          string // the name of the header with the secret
	apiVersion      string
	selectors       [3]string // query parameters by kind of ID; "" if the endpoint doesn't take the kind
}

func (e *hostEndpoint) isSet() bool { return os.Getenv(e.address) != "" && os.Getenv(e.secret) != "" }

// source returns the source, without its classify.
func (e hostEndpoint) source(name string, id ManagedIDKind) (*source, error) {
	endpoint, err := parseEndpoint(e.address, os.Getenv(e.address))
	if err != nil {
		return nil, err
	}
	if id != nil && e.selectors[id.idKind()] == "" {
		return nil, fmt.Errorf("%s can't take the %s of an identity, only its %s", name, id.idKind(), kindClientID)
	}
	return &source{
		name:      name,
		host:      endpoint.Host,
		key:       keyOf(name, endpoint, identityName(id)),
		address:   addressIn(e.address),
		announced: true,
		described: described{variables: []string{e.address, e.secret}},
		request:   func(ctx context.Context, a tokenParams) (*policy.Request, error) { return e.request(ctx, a, id) },
	}, nil
}

func (e hostEndpoint) request(ctx context.Context, a tokenParams, id ManagedIDKind) (*policy.Request, error) {
	current, err := parseEndpoint(e.address, os.Getenv(e.address))
	if err != nil {
		return nil, err
	}
	secret := os.Getenv(e.secret)
	if secret == "" {
		return nil, errors.New(e.secret + " is not set")
	} else if strings.ContainsFunc(secret, unicode.IsControl) {
		return nil, errors.New(e.secret + " has control characters; take them out")
	}
	req, err := runtime.NewRequest(ctx, http.MethodGet, withIdentity(*current, e.apiVersion, a.scope, id, e.selectors))
	if err == nil {
		req.Raw().Header.Set(e.header, secret)
	}
	return req, err
}

// defaultSuffix turns a resource into the scope of all its permissions.
const defaultSuffix = "/.default"

// keyOf returns the name of an identity at an endpoint of a host, for the cache.
func keyOf(source string, endpoint *url.URL, identity string) identityKey {
	return identityKey{endpointKey: endpointKey{address: endpoint.String()}, source: source, identity: identity}
}

// addressIn returns a function that reads the endpoint's address from a variable. It returns "" if the value is not
// valid.
func addressIn(variable string) func() string {
	return func() string {
		u, err := parseEndpoint(variable, os.Getenv(variable))
		if err != nil {
			return ""
		}
		return u.String()
	}
}

// managedScope returns the scope of a resource, with "/.default" whether or not the caller gave it.
func managedScope(scopes []string) (string, error) {
	if len(scopes) != 1 {
		return "", fmt.Errorf("GetToken needs exactly one scope, not %d", len(scopes))
	}
	resource := strings.TrimSuffix(scopes[0], defaultSuffix)
	if resource == "" {
		return "", errors.New("the scope is empty; it has the form https://vault.azure.net/.default")
	}
	return resource + defaultSuffix, nil
}

// parseEndpoint parses and checks the URL in an environment variable.
func parseEndpoint(variable, value string) (*url.URL, error) {
	if value == "" {
		return nil, fmt.Errorf("%s is not set", variable)
	}
	u, err := url.Parse(value)
	if err == nil {
		u.Host = strings.TrimRight(u.Host, ":") // as net/http removes an empty port (RFC 3986, section 6.2.3)
		_, err = url.Parse(u.String())          // Parse rejects some zones that it has unescaped itself
	}
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		u.Fragment != "" {
		return nil, fmt.Errorf("%s is not an http or https URL", variable)
	}
	return u, nil
}

// withIdentity returns the URL with the query of a token request. names are the query parameters by kind of ID.
func withIdentity(u url.URL, apiVersion, scope string, id ManagedIDKind, names [3]string) string {
	q := u.Query()
	q.Set("api-version", apiVersion)
	q.Set("resource", strings.TrimSuffix(scope, defaultSuffix))
	if id != nil {
		q.Set(names[id.idKind()], id.String())
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// ManagedIDKind is the ID of a user-assigned managed identity: a [ClientID], an [ObjectID] or a [ResourceID].
type ManagedIDKind interface {
	fmt.Stringer
	idKind() idKind
}

type idKind int

const (
	kindClientID idKind = iota
	kindObjectID
	kindResourceID
)

func (k idKind) String() string { return [...]string{"client ID", "object ID", "resource ID"}[k] }

// ClientID is the client ID (application ID) of a user-assigned managed identity: a GUID.
type ClientID string

func (ClientID) idKind() idKind { return kindClientID }

// String returns the ID.
func (id ClientID) String() string { return string(id) }

// ObjectID is the object ID (principal ID) of a user-assigned managed identity: a GUID.
type ObjectID string

func (ObjectID) idKind() idKind { return kindObjectID }

// String returns the ID.
func (id ObjectID) String() string { return string(id) }

// ResourceID is the Azure resource ID of a user-assigned managed identity. It has the form
// /subscriptions/S/resourceGroups/G/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME.
type ResourceID string

func (ResourceID) idKind() idKind { return kindResourceID }

// String returns the ID.
func (id ResourceID) String() string { return string(id) }

// identityName returns the name of an identity for the cache, in lower case: case doesn't matter in GUIDs and resource
// IDs.
func identityName(id ManagedIDKind) string {
	if id == nil {
		return "the host's default"
	}
	return id.idKind().String() + " " + strings.ToLower(id.String())
}

// missingIdentity returns the advice for an identity that the host doesn't have. Nil means the default identity.
func missingIdentity(id ManagedIDKind) string {
	if id == nil {
		return "no managed identity is assigned to this host; assign one, or name a user-assigned one"
	}
	return fmt.Sprintf("no identity with %s %s is assigned to this host; assign it, or correct the ID in the options "+
		"or AZURE_CLIENT_ID", id.idKind(), text.ID(id.String()))
}
