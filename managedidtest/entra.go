package managedidtest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// entraToken is the answer with a token, as recorded for the Azure SDKs.
type entraToken struct {
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	ExtExpiresIn int64  `json:"ext_expires_in"`
	AccessToken  string `json:"access_token"`
}

// The values of client_assertion_type and grant_type, from RFC 7523, section 2.2, and RFC 6749, section 4.4.2.
const (
	jwtBearer         = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	clientCredentials = "client_credentials"
)

// entra answers a client credentials request like the token endpoint: Microsoft's page "OAuth 2.0 client credentials
// flow". It issues a new token for each request.
func (s *state) entra(r *http.Request, form url.Values) answer {
	now := time.Now()
	if r.Method != http.MethodPost {
		return notAllowed(http.MethodPost, onlyPOST(r.Method).asAnswer(Entra, r, now))
	}
	tenant, c, problem := s.exchange(r, form, now)
	if problem != nil {
		return problem.asAnswer(Entra, r, now)
	}
	t := c.issue(tenant, s.tokens.lifetime, now)
	expiresIn := int64(t.expires.Sub(now) / time.Second)
	a := jsonAnswer(http.StatusOK, Entra, entraToken{"Bearer", expiresIn, expiresIn, t.raw})
	a.identity = c.AppID
	return a
}

// exchange checks a request. It returns the tenant of the token, and the claims that name the audience, the application
// and its authentication.
func (s *state) exchange(r *http.Request, form url.Values, now time.Time) (tenant string, c claims, problem *refusal) {
	if problem = checkParameters(form); problem != nil {
		return "", c, problem
	}
	if tenant, problem = s.tenant(tenantOf(r)); problem != nil {
		return "", c, problem
	}
	if c.Audience, problem = audience(form.Get("scope")); problem != nil {
		return "", c, problem
	}
	app := s.application(form.Get("client_id"))
	if app == nil {
		return "", c, unknownApplication(form.Get("client_id"), tenant)
	}
	c.AppID, c.ObjectID = app.ClientID, app.ObjectID
	if c.Proof, problem = s.authenticate(app, form, destination{hostOf(r), []string{tenantOf(r), tenant}, s.isBound(r)},
		now); problem != nil {
		return "", c, problem
	}
	c.Capabilities, problem = capabilities(form.Get("claims"))
	return tenant, c, problem
}

// checkParameters checks the parameters that every request has.
func checkParameters(form url.Values) *refusal {
	for name, values := range form {
		if len(values) > 1 {
			return duplicated(name)
		}
	}
	for _, name := range []string{"grant_type", "client_id", "scope"} {
		if form.Get(name) == "" {
			return missing(name)
		}
	}
	if g := form.Get("grant_type"); g != clientCredentials {
		return unsupportedGrant(g)
	}
	return nil
}

// tenant returns the tenant in the spelling of Options.
func (s *state) tenant(given string) (string, *refusal) {
	for _, t := range append([]string{s.options.TenantID}, s.options.OtherTenants...) {
		if strings.EqualFold(t, given) {
			return t, nil
		}
	}
	return "", unknownTenant(given)
}

// oidcScopes are scopes that MSAL adds to a request. They have no effect here.
var oidcScopes = []string{"openid", "offline_access", "profile"}

// resourceScopes returns the scopes that name a resource.
func resourceScopes(scope string) []string {
	return slices.DeleteFunc(strings.Fields(scope), func(s string) bool { return slices.Contains(oidcScopes, s) })
}

// audience returns the resource of a scope, which is the part before "/.default". A resource that ends with "/" needs
// two.
func audience(scope string) (string, *refusal) {
	all := resourceScopes(scope)
	if len(all) > 1 {
		return "", severalResources(scope)
	}
	if len(all) == 0 {
		return "", noDefaultScope(scope)
	}
	resource, found := strings.CutSuffix(all[0], "/.default")
	if !found || resource == "" {
		return "", noDefaultScope(all[0])
	}
	return resource, nil
}

// authenticate checks the secret or the assertion of the application. It returns the claim appidacr, which says which
// of them it was.
func (s *state) authenticate(a *Application, form url.Values, dest destination, now time.Time) (string, *refusal) {
	kind := form.Get("client_assertion_type")
	switch {
	case form.Get("client_assertion") != "" && kind == "":
		return "", missing("client_assertion_type")
	case form.Get("client_assertion") != "" && kind == jwtBearer:
		return "2", s.checkAssertion(a, form.Get("client_assertion"), dest, now)
	case form.Get("client_secret") == "":
		return "", noCredential()
	}
	found, expired := a.secret(form.Get("client_secret"), now)
	switch {
	case found == nil:
		return "", wrongSecret(a.ClientID)
	case expired:
		return "", expiredSecret(a.ClientID)
	}
	return "1", nil
}

// capabilities returns the client's capabilities in the claims parameter: Microsoft's page "Claims challenges, claims
// requests, and client capabilities".
func capabilities(parameter string) ([]string, *refusal) {
	if parameter == "" {
		return nil, nil
	}
	var v struct {
		AccessToken struct {
			Capabilities struct {
				Values []string `json:"values"`
			} `json:"xms_cc"`
		} `json:"access_token"`
	}
	if json.Unmarshal([]byte(parameter), &v) != nil {
		return nil, malformedClaims()
	}
	return v.AccessToken.Capabilities.Values, nil
}
