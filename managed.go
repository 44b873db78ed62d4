package managedid

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const nameManagedIdentity = "ManagedIdentityCredential"

// Source is a kind of managed identity endpoint. The zero value means the one that the host's environment shows.
type Source string

const (
	// SourceIMDS is the Azure Instance Metadata Service of virtual machines, scale sets, AKS nodes and others.
	SourceIMDS Source = "IMDS"
	// SourceAppService is the endpoint of App Service, Functions and Container Apps: version 2019-08-01 or, where the host
	// has MSI_ENDPOINT and MSI_SECRET alone, 2017-09-01. Detection takes these for Azure ML's, which differs in little.
	SourceAppService Source = "App Service"
	// SourceAzureArc is the agent of servers that are connected to Azure, on Linux and Windows.
	SourceAzureArc Source = "Azure Arc"
	// SourceAzureML is the endpoint of Azure Machine Learning's computes. Of IDs it takes a ClientID only; its default
	// identity is that of DEFAULT_IDENTITY_CLIENT_ID.
	SourceAzureML Source = "Azure ML"
	// SourceCloudShell is the endpoint of Azure Cloud Shell. It takes no ID: its tokens are those of the signed-in user.
	SourceCloudShell Source = "Cloud Shell"
	// SourceServiceFabric is the endpoint of Service Fabric's nodes. It takes no ID: the cluster knows the application's
	// identity. It is trusted by the certificate that IDENTITY_SERVER_THUMBPRINT names, and by no other, so that a Transport
	// must be an *http.Client whose Transport is nil or an *http.Transport, without TLS dialing or verification of its own.
	SourceServiceFabric Source = "Service Fabric"
)

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

// ClientID is the client ID, also called application ID, of a user-assigned managed identity: a GUID.
type ClientID string

func (ClientID) idKind() idKind { return kindClientID }

// String returns the ID.
func (id ClientID) String() string { return string(id) }

// ObjectID is the object ID, also called principal ID, of a user-assigned managed identity: a GUID.
type ObjectID string

func (ObjectID) idKind() idKind { return kindObjectID }

// String returns the ID.
func (id ObjectID) String() string { return string(id) }

// ResourceID is the Azure resource ID of a user-assigned managed identity, of the form
// /subscriptions/S/resourceGroups/G/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME.
type ResourceID string

func (ResourceID) idKind() idKind { return kindResourceID }

// String returns the ID.
func (id ResourceID) String() string { return string(id) }

// ManagedIdentityCredentialOptions are the options of NewManagedIdentityCredential.
type ManagedIdentityCredentialOptions struct {
	// ClientOptions configures the pipeline. A zero Retry field has the source's default. A Transport that is an
	// *http.Client is copied, and its redirects turned off. Logging.IncludeBody and APIVersion have no effect.
	azcore.ClientOptions
	// ID names a user-assigned identity. Nil means the host's default, normally its system-assigned identity.
	ID ManagedIDKind
	// Source fixes the endpoint instead of detecting it, and says that it is there: a call then waits for an endpoint
	// that is still booting, as long as its context allows. Zero means detection.
	Source Source
	// Cache holds the tokens. Nil means the cache of the process, or a private one where ClientOptions has a
	// Transport, policies or retry options.
	Cache *TokenCache
	// Logger gets a record of each token, failed request and pause, never a secret; see the package's Logging. Nil means none.
	Logger *slog.Logger
}

// ManagedIdentityCredential gets tokens for the managed identity of the host. GetToken takes exactly one scope,
// RESOURCE/.default or just RESOURCE. TenantID has no effect. Claims that the cached token wasn't asked for with make a new
// request, whatever they are: they are not sent. Service Fabric's endpoint is told which token they were about, so that it
// doesn't give that again, and of EnableCAE; at others EnableCAE has no effect. It is safe for concurrent use.
type ManagedIdentityCredential struct {
	*credential
}

var _ azcore.TokenCredential = (*ManagedIdentityCredential)(nil)

// NewManagedIdentityCredential makes a credential for the host's managed identity. Pass nil for defaults. It sends
// nothing: it fails only where options or environment can't work.
func NewManagedIdentityCredential(options *ManagedIdentityCredentialOptions) (*ManagedIdentityCredential, error) {
	var o ManagedIdentityCredentialOptions
	if options != nil {
		o = *options
	}
	s, err := managedSource(&o)
	if err != nil {
		return nil, misconfigured(nameManagedIdentity, err.Error())
	}
	cache := cacheFor(o.Cache, &o.ClientOptions)
	c, err := newCredential(nameManagedIdentity, s, o.ClientOptions, cache, o.Logger)
	if err != nil {
		return nil, err
	}
	if s.sendsClaims {
		c.separateCAE(cache)
	}
	return &ManagedIdentityCredential{c}, nil
}

// managedSource finds the endpoint and checks that it can take the ID.
func managedSource(o *ManagedIdentityCredentialOptions) (*source, error) {
	if o.ID != nil && strings.TrimSpace(o.ID.String()) == "" {
		return nil, fmt.Errorf("the %s of the identity is empty; correct it in the options or AZURE_CLIENT_ID", o.ID.idKind())
	}
	kind, evidence := o.Source, "the Source in the options"
	if kind == "" {
		kind, evidence = detectSource()
	}
	var s *source
	var err error
	switch kind {
	case SourceIMDS:
		s, err = imdsSource(o.ID)
	case SourceAppService:
		s, err = appServiceSource(o.ID)
	case SourceAzureArc:
		s, err = localArcSource(o.ID)
	case SourceAzureML:
		s, err = azureMLSource(o.ID)
	case SourceCloudShell:
		s, err = cloudShellSource(o.ID)
	case SourceServiceFabric:
		s, err = serviceFabricSource(o.ID)
	default:
		return nil, fmt.Errorf("unknown source %q; name one of the Source constants, or none", string(kind))
	}
	if err != nil {
		return nil, err
	}
	s.announced = s.announced || o.Source != ""
	managed(s)
	if s.confirm == nil {
		s.confirm = func(body []byte) error { return confirmClientID(body, o.ID) }
	}
	if kind == SourceIMDS && evidence != noOtherSource && o.Source == "" {
		s.doubt = evidence
	}
	s.url, s.evidence, s.subject = s.endpoint, evidence, cmp.Or(s.subject, "the host's default identity")
	if o.ID != nil {
		s.subject = o.ID.idKind().String() + " " + shownID(o.ID.String())
	}
	s.identity = "managed identity|" + s.name + "|" + s.endpoint + "|" + cmp.Or(s.identity, identityName(o.ID))
	return s, nil
}

// managed adds what the endpoints of managed identities have in common.
func managed(s *source) {
	explain := s.explain
	s.client, s.scope = metadataClient, managedScope
	s.explain = func(a answer) verdict {
		switch {
		case a.status == http.StatusTooManyRequests:
			return verdict{reason: ReasonThrottled, advice: "the endpoint is throttling this host"}
		case a.status == http.StatusRequestTimeout:
			return verdict{reason: ReasonNotReady, advice: "the endpoint took too long over the request"}
		case a.code == "invalid_resource", a.code == "invalid_scope":
			return verdict{reason: ReasonInvalidScope, advice: "the resource is unknown; correct the scope"}
		}
		return explain(a)
	}
}

// confirmClientID refuses a token that is another identity's, as the answer itself says. Recorded answers of IMDS and App Service
// echo the client ID alone; one that has none is taken.
func confirmClientID(body []byte, id ManagedIDKind) error {
	if id == nil || id.idKind() != kindClientID {
		return nil
	} else if _, others := echoed(body, id, "client_id"); !others {
		return nil
	}
	return verdict{reason: ReasonMalformedAnswer, advice: fmt.Sprintf("the answer is for another identity than the one with %s %s, so its token was discarded; "+
		"see what answers at the endpoint", id.idKind(), shownID(id.String()))}
}

// identityName is a part of an identity's name in a cache. GUIDs and resource IDs have no case.
func identityName(id ManagedIDKind) string {
	if id == nil {
		return "the host's default"
	}
	return id.idKind().String() + " " + strings.ToLower(id.String())
}

// defaultSuffix makes a resource the scope of all its permissions.
const defaultSuffix = "/.default"

// managedScope returns the scope of a resource that is named with "/.default" or without.
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

// parseEndpoint checks a URL that an environment variable gives.
func parseEndpoint(variable, value string) (*url.URL, error) {
	if value == "" {
		return nil, fmt.Errorf("%s is not set", variable)
	}
	u, err := url.Parse(value)
	if err == nil {
		u.Host = strings.TrimSuffix(u.Host, ":") // as net/http takes out an empty port (RFC 3986, section 6.2.3)
		_, err = url.Parse(u.String())           // which refuses some zones that it has itself unescaped
	}
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("%s is not an http or https URL", variable)
	}
	return u, nil
}

// withIdentity adds the query of a token request; names are the source's parameters by kind of ID.
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

// missingIdentity is the advice where the host doesn't have the identity.
func missingIdentity(id ManagedIDKind) string {
	if id == nil {
		return "no managed identity is assigned to this host; assign one, or name a user-assigned one"
	}
	return fmt.Sprintf("no identity with %s %s is assigned to this host; assign it, or correct the ID in the options or AZURE_CLIENT_ID",
		id.idKind(), shownID(id.String()))
}
