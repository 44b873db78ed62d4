package managedidtest

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// apiVersions are the versions that identity libraries send to a token endpoint. Microsoft's page "How to use managed
// identities to acquire a token" documents 2018-02-01 "or later".
var apiVersions = []string{"2017-09-01", "2018-02-01", "2019-07-01-preview", "2019-08-01", "2019-11-01", "2020-06-01"}

// selectors are the query parameters that name an identity.
var selectors = []string{"client_id", "clientid", "object_id", "principal_id", "msi_res_id", "mi_res_id"}

// imdsToken is the answer with a token. Its fields have the order and the types of a recorded answer.
type imdsToken struct {
	AccessToken  string `json:"access_token"`
	ClientID     string `json:"client_id"`
	ExpiresIn    string `json:"expires_in"` // seconds from now, also for a cached token
	ExpiresOn    string `json:"expires_on"` // seconds since 1970
	ExtExpiresIn string `json:"ext_expires_in"`
	NotBefore    string `json:"not_before"`
	Resource     string `json:"resource"`
	TokenType    string `json:"token_type"`
}

// imds answers like IMDS. Its errors are from Microsoft's pages "Azure Instance Metadata Service" and "How to use
// managed identities to acquire a token", and from reports to the Azure SDKs.
func (s *state) imds(r *http.Request) answer {
	if r.Method != http.MethodGet {
		return notGET(imdsError(http.StatusMethodNotAllowed, "invalid_request", "Method not allowed"))
	}
	if len(r.Header.Values("X-Forwarded-For")) > 0 {
		return imdsError(http.StatusBadRequest, "invalid_request", "X-Forwarded-For header is not allowed")
	}
	if v := r.Header.Values("Metadata"); len(v) != 1 || v[0] != "true" {
		return imdsError(http.StatusBadRequest, "invalid_request", "Required metadata header not specified")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return imdsError(http.StatusBadRequest, "invalid_request", "Malformed query")
	}
	if !slices.Contains(apiVersions, query.Get("api-version")) {
		return jsonAnswer(http.StatusBadRequest, IMDS, struct {
			Error          string   `json:"error"`
			NewestVersions []string `json:"newest-versions"`
		}{
			"Bad request. api-version is invalid or was not specified in the request. For more information refer " +
				"to aka.ms/azureimds",
			[]string{"2020-10-01", "2020-09-01", "2020-07-15"},
		})
	}
	selector, ok := singleSelector(query, "client_id", "object_id", "msi_res_id", "mi_res_id")
	if !ok {
		return imdsError(http.StatusBadRequest, "invalid_request", "A query variable was specified more than once")
	}
	if query.Get("resource") == "" {
		return imdsError(http.StatusBadRequest, "invalid_request", "Required query variable 'resource' is missing")
	}
	id, problem := s.imdsIdentity(selector, query.Get(selector))
	if id == nil {
		return imdsError(http.StatusBadRequest, "invalid_request", problem)
	}
	if resource := query.Get("resource"); !strings.Contains(resource, ":") &&
		!isGUID(resource) { // such as "vault.azure.net"
		return unknownResource(resource, s.tokens.tenant).asAnswer(IMDS, r, time.Now())
	}
	return s.imdsToken(id, query.Get("resource"))
}

// imdsIdentity returns the identity that the selector names. Without a selector, it returns the system-assigned
// identity, or else the only user-assigned one. If id is nil, problem is the error description.
func (s *state) imdsIdentity(selector, value string) (id *Identity, problem string) {
	system, users := s.identities()
	switch {
	case selector != "":
		id = s.find(selector, value)
	case system != nil:
		id = system
	case len(users) == 1:
		id = &users[0]
	case len(users) > 1:
		return nil, "Multiple user assigned identities exist, please specify the clientId / resourceId of the " +
			"identity in the token request"
	}
	return id, "Identity not found"
}

func (s *state) imdsToken(id *Identity, resource string) answer {
	now := time.Now()
	t := s.tokens.get(id, resource, now)
	a := jsonAnswer(http.StatusOK, IMDS, imdsToken{
		AccessToken:  t.raw,
		ClientID:     id.ClientID,
		ExpiresIn:    seconds(t.expires.Sub(now)),
		ExpiresOn:    strconv.FormatInt(t.expires.Unix(), 10),
		ExtExpiresIn: seconds(s.tokens.lifetime),
		NotBefore:    strconv.FormatInt(t.notBefore.Unix(), 10),
		Resource:     resource,
		TokenType:    "Bearer",
	})
	a.identity = id.ClientID
	return a
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

func imdsError(status int, code, description string) answer {
	return jsonAnswer(status, IMDS, struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
}

// singleSelector returns the only one of the names that is in the query, or "" if there is none. ok is false if the
// query has several of them, or any parameter twice.
func singleSelector(query url.Values, names ...string) (name string, ok bool) {
	for key, values := range query {
		if len(values) > 1 {
			return "", false
		}
		if !slices.Contains(names, key) {
			continue
		}
		if name != "" {
			return "", false
		}
		name = key
	}
	return name, true
}
