package managedidtest

import (
	"crypto/sha1"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// fabricNode is a node of a Service Fabric cluster.
type fabricNode struct {
	url        string // scheme and host of the endpoint
	thumbprint string // of the node's certificate
}

// thumbprintOf returns the SHA-1 thumbprint of a certificate in the format of Windows.
func thumbprintOf(der []byte) string { return fmt.Sprintf("%X", sha1.Sum(der)) }

func (s *state) fabricEnviron(env map[string]string) {
	env["IDENTITY_ENDPOINT"] = s.node.url + "/" + imdsPath
	env["IDENTITY_HEADER"] = s.currentSecret()
	env["IDENTITY_SERVER_THUMBPRINT"] = s.node.thumbprint
}

// serviceFabricVersions are the api-versions of Microsoft's page "How to leverage a Service Fabric application's
// managed identity to access Azure services" and of MSAL for .NET.
var serviceFabricVersions = []string{"2019-07-01-preview", "2020-05-01"}

// serviceFabricToken is the answer with a token, as in the page that serviceFabricVersions names.
type serviceFabricToken struct {
	TokenType   string `json:"token_type"`
	AccessToken string `json:"access_token"`
	ExpiresOn   int64  `json:"expires_on"` // seconds since 1970
	Resource    string `json:"resource"`
}

// serviceFabric answers like the endpoint of a node, for an application with the system-assigned identity. It ignores
// IDs. The codes and messages are from the page that serviceFabricVersions names. It returns the cached token for the
// client's capabilities, unless the client sends the hash of this token, because an API rejected it:
// docs/msiv1_token_revocation.md of MSAL for .NET.
func (s *state) serviceFabric(r *http.Request) answer {
	if r.Method != http.MethodGet {
		return notGET(serviceFabricError(http.StatusMethodNotAllowed, "MethodNotAllowed", "The method must be GET."))
	}
	secret := r.Header.Get("Secret")
	if secret == "" {
		return serviceFabricError(http.StatusBadRequest, "SecretHeaderNotFound",
			"Secret is not found in the request headers.")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return serviceFabricError(http.StatusBadRequest, "InvalidQuery", "The query is malformed.")
	}
	if v := query.Get("api-version"); !slices.Contains(serviceFabricVersions, v) {
		return serviceFabricError(http.StatusBadRequest, "InvalidApiVersion",
			fmt.Sprintf("The api-version '%s' is not supported. Supported version is '%s'.", v,
				serviceFabricVersions[0]))
	}
	resource := query.Get("resource")
	if resource == "" {
		return serviceFabricError(http.StatusBadRequest, "ArgumentNullOrEmpty",
			"The parameter 'resource' should not be null or empty string.")
	}
	id, _ := s.identities()
	if subtle.ConstantTimeCompare([]byte(secret), []byte(s.currentSecret())) != 1 || id == nil {
		return serviceFabricError(http.StatusNotFound, "ManagedIdentityNotFound",
			"Managed identity not found for the specified application host.")
	}
	t := s.tokens.getExcept(query.Get("token_sha256_to_refresh"), id, resource, query.Get("xms_cc"), time.Now())
	a := jsonAnswer(http.StatusOK, ServiceFabric, serviceFabricToken{"Bearer", t.raw, t.expires.Unix(), resource})
	a.identity = id.ClientID
	return a
}

// serviceFabricError has the form of the sample in that page. All statuses except 404 are made up, and so are the codes
// of malformed requests.
func serviceFabricError(status int, code, message string) answer {
	type inner struct {
		CorrelationID string `json:"correlationId"`
		Code          string `json:"code"`
		Message       string `json:"message"`
	}
	return jsonAnswer(status, ServiceFabric, struct {
		Error inner `json:"error"`
	}{inner{newGUID(), code, message}})
}
