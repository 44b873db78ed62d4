package managedidtest

import (
	"crypto/subtle"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// version2017 is the api-version of Azure ML, and the first version of App Service.
const version2017 = "2017-09-01"

// azureMLToken is the answer with a token. Its fields have the order and the types of a recorded answer.
type azureMLToken struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"` // seconds from now
	ExpiresOn   int64  `json:"expires_on"` // seconds since 1970
	Resource    string `json:"resource"`
	TokenType   string `json:"token_type"`
}

// azureML answers like the endpoint of an Azure Machine Learning compute. Without clientid, it uses the default
// identity.
func (s *state) azureML(r *http.Request) answer {
	id, resource, failure := s.check2017(r, AzureML)
	if id == nil {
		return failure
	}
	now := time.Now()
	t := s.tokens.get(id, resource, now)
	a := jsonAnswer(http.StatusOK, AzureML, azureMLToken{
		AccessToken: t.raw,
		ExpiresIn:   int64(t.expires.Sub(now) / time.Second),
		ExpiresOn:   t.expires.Unix(),
		Resource:    resource,
		TokenType:   "Bearer",
	})
	a.identity = id.ClientID
	return a
}

// azureMLNotFound has the text of github.com/Azure/azure-sdk-for-python issue 31071, and the status in that text.
func azureMLNotFound() answer {
	a := emptyAnswer(http.StatusNotFound, AzureML)
	a.header.Set("Content-Type", "text/plain; charset=utf-8")
	a.body = []byte("InternalError - :{\nInfo: Request failure status code: 404\n\n}")
	return a
}

// defaultIdentity returns the identity that DEFAULT_IDENTITY_CLIENT_ID names, or nil if there is none. A compute has
// either a system-assigned identity or user-assigned ones.
func (s *state) defaultIdentity() *Identity {
	system, users := s.identities()
	if system == nil && len(users) > 0 {
		return &users[0]
	}
	return system
}

// appService2017Token is App Service's answer, as in the documentation of that time.
type appService2017Token struct {
	AccessToken string `json:"access_token"`
	ExpiresOn   string `json:"expires_on"` // a date
	Resource    string `json:"resource"`
	TokenType   string `json:"token_type"`
}

// The formats of expires_on on Linux and on Windows, from github.com/Azure/azure-sdk-for-python pull requests 5972 and
// 9480.
const (
	linuxDate   = "01/02/2006 15:04:05 -07:00"
	windowsDate = "1/2/2006 3:04:05 PM -07:00"
)

// appService2017 answers like App Service in api-version 2017-09-01.
func (s *state) appService2017(r *http.Request) answer {
	id, resource, failure := s.check2017(r, AppService)
	if id == nil {
		return failure
	}
	t := s.tokens.get(id, resource, time.Now())
	date := linuxDate
	if s.options.WindowsDates {
		date = windowsDate
	}
	a := jsonAnswer(http.StatusOK, AppService, appService2017Token{
		AccessToken: t.raw,
		ExpiresOn:   t.expires.UTC().Format(date),
		Resource:    resource,
		TokenType:   "Bearer",
	})
	a.identity = id.ClientID
	return a
}

// check2017 returns the identity and the resource of a request. If id is nil, failure is the answer. The statuses and
// texts for malformed requests are those of App Service's later version. An empty clientid counts as absent, since MSAL
// for Go sends it.
func (s *state) check2017(r *http.Request, endpoint Endpoint) (id *Identity, resource string, failure answer) {
	if r.Method != http.MethodGet {
		return nil, "", notGET(emptyAnswer(http.StatusMethodNotAllowed, endpoint))
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Secret")), []byte(s.currentSecret())) != 1 {
		return nil, "", emptyAnswer(http.StatusForbidden, endpoint)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, "", statusError(endpoint, "The query is malformed.")
	}
	if problem := problem2017(query); problem != "" {
		return nil, "", statusError(endpoint, problem)
	}
	id, _ = s.identities()
	if endpoint == AzureML {
		id, failure = s.defaultIdentity(), azureMLNotFound()
	} else {
		failure = statusError(endpoint, "Unable to load the proper Managed Identity.")
	}
	if v := query.Get("clientid"); v != "" {
		id = s.find("clientid", v)
	}
	return id, query.Get("resource"), failure
}

// problem2017 returns what is wrong with a query, or "" if it is correct.
func problem2017(query url.Values) string {
	selector, ok := singleSelector(query, selectors...)
	switch {
	case query.Get("api-version") != version2017:
		return "The api-version is not supported."
	case !ok:
		return "A query parameter was specified more than once, or several identities were."
	case selector != "" && selector != "clientid":
		return "The parameter " + strconv.Quote(selector) + " is not known in this api-version, only clientid."
	case query.Get("resource") == "":
		return "The resource is missing."
	}
	return ""
}
