package managedidtest

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// arcVersions are the api-versions of Microsoft's page "Access Azure resources by using managed identity on Azure
// Arc-enabled servers" and of MSAL.
var arcVersions = []string{"2019-11-01", "2020-06-01"}

// arcToken is the answer with a token. The last three fields confirm the selector of the request, as
// apps/managedidentity/azure_arc.go of MSAL Go expects.
type arcToken struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   string `json:"expires_in"` // seconds from now
	ExpiresOn   string `json:"expires_on"` // seconds since 1970
	Resource    string `json:"resource"`
	TokenType   string `json:"token_type"`
	ClientID    string `json:"client_id,omitempty"`
	ObjectID    string `json:"object_id,omitempty"`
	ResourceID  string `json:"msi_res_id,omitempty"`
}

// arc answers like the Azure Connected Machine agent. It answers a request without a key with a challenge. It answers a
// request with a valid key, which only a reader of the key file can send, with a token.
func (s *state) arc(r *http.Request) answer {
	if r.Method != http.MethodGet {
		return notGET(arcError(http.StatusMethodNotAllowed, "invalid_request", "Method not allowed"))
	}
	if v := r.Header.Values("Metadata"); len(v) != 1 || !strings.EqualFold(v[0], "true") {
		return arcError(http.StatusBadRequest, "invalid_request", "Required metadata header not specified")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return arcError(http.StatusBadRequest, "invalid_request", "Malformed query")
	}
	if !slices.Contains(arcVersions, query.Get("api-version")) {
		return arcError(http.StatusBadRequest, "invalid_request", "The api-version is not supported")
	}
	selector, ok := singleSelector(query, "client_id", "object_id", "msi_res_id")
	if !ok {
		return arcError(http.StatusBadRequest, "invalid_request", "A query variable was specified more than once")
	}
	if query.Get("resource") == "" {
		return arcError(http.StatusBadRequest, "invalid_request", "Required query variable 'resource' is missing")
	}
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		return s.arcChallenge()
	}
	key, basic := strings.CutPrefix(authorization, "Basic ")
	if !basic || !s.keys.use(key, time.Now()) {
		return arcError(http.StatusUnauthorized, "unauthorized", "The key is unknown, has been used, or is too old")
	}
	return s.arcToken(selector, query)
}

// arcChallenge writes a key file and returns an answer that names it.
func (s *state) arcChallenge() answer {
	path, err := s.keys.add(time.Now())
	if err != nil {
		return arcError(http.StatusInternalServerError, "server_error", err.Error())
	}
	a := emptyAnswer(http.StatusUnauthorized, Arc)
	a.header.Set("Www-Authenticate", "Basic realm="+path)
	return a
}

// arcToken returns the answer with a token for the identity that the selector names, or without a selector for the
// system-assigned one.
func (s *state) arcToken(selector string, query url.Values) answer {
	if s.options.ArcIgnoresIDs {
		selector = ""
	}
	id, _ := s.identities()
	if selector != "" {
		id = s.find(selector, query.Get(selector))
	}
	// The answer is from MSAL Go's tests.
	if id == nil {
		return arcError(http.StatusNotFound, "identity_not_found",
			"the requested identity has not been assigned to this resource")
	}
	now, resource := time.Now(), query.Get("resource")
	t := s.tokens.get(id, resource, now)
	body := arcToken{
		AccessToken: t.raw,
		ExpiresIn:   seconds(t.expires.Sub(now)),
		ExpiresOn:   strconv.FormatInt(t.expires.Unix(), 10),
		Resource:    resource,
		TokenType:   "Bearer",
	}
	switch selector {
	case "client_id":
		body.ClientID = id.ClientID
	case "object_id":
		body.ObjectID = id.ObjectID
	case "msi_res_id":
		body.ResourceID = id.ResourceID
	}
	a := jsonAnswer(http.StatusOK, Arc, body)
	a.identity = id.ClientID
	return a
}

func arcError(status int, code, description string) answer {
	a := imdsError(status, code, description)
	a.header = usualHeader(Arc)
	return a
}
