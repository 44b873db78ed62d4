package managedidtest

import (
	"crypto/subtle"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// appServiceToken is the answer with a token, as in Microsoft's page "Managed identities for App Service and Azure
// Functions". It has no lifetime, and the client ID is in upper case.
type appServiceToken struct {
	AccessToken string `json:"access_token"`
	ExpiresOn   string `json:"expires_on"` // seconds since 1970
	Resource    string `json:"resource"`
	TokenType   string `json:"token_type"`
	ClientID    string `json:"client_id"`
}

// appService answers like App Service, Functions and Container Apps in api-version 2019-08-01, or like App Service in
// 2017-09-01.
func (s *state) appService(r *http.Request) answer {
	if r.URL.Query().Get("api-version") == version2017 {
		return s.appService2017(r)
	}
	if r.Method != http.MethodGet {
		return notGET(emptyAnswer(http.StatusMethodNotAllowed, AppService))
	}
	secret := r.Header.Get("X-Identity-Header")
	if subtle.ConstantTimeCompare([]byte(secret), []byte(s.currentSecret())) != 1 {
		return emptyAnswer(http.StatusForbidden, AppService)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return statusError(AppService, "The query is malformed.")
	}
	id, problem := s.appServiceIdentity(query)
	if id == nil {
		return statusError(AppService, problem)
	}
	resource := query.Get("resource")
	t := s.tokens.get(id, resource, time.Now())
	a := jsonAnswer(http.StatusOK, AppService, appServiceToken{
		AccessToken: t.raw,
		ExpiresOn:   strconv.FormatInt(t.expires.Unix(), 10),
		Resource:    resource,
		TokenType:   "Bearer",
		ClientID:    strings.ToUpper(id.ClientID),
	})
	a.identity = id.ClientID
	return a
}

// appServiceIdentity returns the identity that the query names, or without a selector the system-assigned one. If id is
// nil, problem is the error message.
func (s *state) appServiceIdentity(query url.Values) (id *Identity, problem string) {
	if query.Get("api-version") != "2019-08-01" {
		return nil, "The api-version is not supported."
	}
	selector, ok := singleSelector(query, "client_id", "principal_id", "object_id", "mi_res_id")
	if !ok {
		return nil, "A query parameter was specified more than once, or several identities were."
	}
	if query.Get("resource") == "" {
		return nil, "The resource is missing."
	}
	id, _ = s.identities()
	if selector != "" {
		id = s.find(selector, query.Get(selector))
	}
	return id, "Unable to load the proper Managed Identity."
}

// statusError is an error of App Service, recorded in github.com/Azure/azure-sdk-for-net issue 43691.
func statusError(endpoint Endpoint, message string) answer {
	correlation := newGUID()
	a := jsonAnswer(http.StatusBadRequest, endpoint, struct {
		StatusCode    int    `json:"statusCode"`
		Message       string `json:"message"`
		CorrelationID string `json:"correlationId"`
	}{http.StatusBadRequest, message, correlation})
	a.header.Set("X-Correlation-Id", correlation)
	return a
}
