package managedidtest

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Resource is an API that accepts only the tokens of one emulator for one audience. It is an [http.Handler], and a
// transport without sockets for clients of the API. It verifies the bearer token of a request like [VerifyToken], and
// also requires the emulator's tenant. An accepted request goes to the next handler. Without one, the answer has status
// 200 and the claims aud, appid and oid in JSON. Any other request gets status 401 with a challenge that Azure SDK
// clients understand.
type Resource struct {
	state            *state
	tenant, audience string
	next             http.Handler // nil: answer with the claims
	keys             *keySet
}

// Resource makes an API for an audience, such as "https://vault.azure.net". If next is nil, the API answers with the
// claims.
func (e *Emulator) Resource(audience string, next http.Handler) *Resource {
	return &Resource{state: e.s, tenant: e.TenantID(), audience: audience, next: next,
		keys: &keySet{keys: publicKeys().public()}}
}

// NewResource starts a [Resource] as an HTTPS server on loopback. [Server.Client] trusts it. It fetches the keys from
// JWKSURL when it meets an unknown key, and answers with status 503 if that fails. Its certificate is also valid for
// the audience's host and its subdomains, so a test can map these names to it. [Server.Close] closes it.
func (s *Server) NewResource(audience string, next http.Handler) *httptest.Server {
	r := s.Resource(audience, next)
	r.keys = &keySet{client: s.host.client, url: s.JWKSURL()}
	srv := httptest.NewUnstartedServer(r)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{s.host.authority.issue(nil, namesIn(audience)...)}}
	srv.StartTLS()
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	s.host.resources = append(s.host.resources, srv)
	return srv
}

var isHostName = regexp.MustCompile(`^[0-9A-Za-z.-]+$`).MatchString

// namesIn returns the host of an https audience and the wildcard of its subdomains. It returns nil for other audiences.
func namesIn(audience string) []string {
	u, err := url.Parse(audience)
	if err != nil || u.Scheme != "https" || !isHostName(u.Hostname()) {
		return nil
	}
	return []string{u.Hostname(), "*." + u.Hostname()}
}

// Do answers a request without sockets and ignores its host.
func (a *Resource) Do(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	served := r.Clone(r.Context())
	if served.Body == nil {
		served.Body = http.NoBody
	}
	defer served.Body.Close()
	w := httptest.NewRecorder()
	a.ServeHTTP(w, served)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// RoundTrip implements [http.RoundTripper]. It is the same as Do.
func (a *Resource) RoundTrip(r *http.Request) (*http.Response, error) { return a.Do(r) }

// ServeHTTP verifies the request's token, and calls the next handler if the token is valid.
func (a *Resource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, found := bearer(r)
	revoked := a.state.revoked.Load()
	c, err := a.keys.verify(r.Context(), token, a.audience, time.Now())
	if err == nil && c.TenantID != a.tenant {
		err = errors.New("managedidtest: the token is from another tenant")
	}
	switch {
	case !found:
		a.refuse(w, http.StatusUnauthorized, "", "no bearer token")
	case errors.Is(err, errKeys):
		a.refuse(w, http.StatusServiceUnavailable, "", err.Error())
	case err != nil:
		a.refuse(w, http.StatusUnauthorized, `error="invalid_token"`, err.Error())
	case revoked.covers(c):
		a.refuseRevoked(w, revoked, c)
	case a.next != nil:
		a.next.ServeHTTP(w, r)
	default:
		writeJSON(w, http.StatusOK, map[string]string{"aud": c.Audience, "appid": c.AppID, "oid": c.ObjectID})
	}
}

func bearer(r *http.Request) (token string, found bool) {
	scheme, token, found := strings.Cut(r.Header.Get("Authorization"), " ")
	return token, found && strings.EqualFold(scheme, "Bearer")
}

// refuse sends an error in Azure's format. With status 401, it adds the challenge from Key Vault's page
// "Authentication, requests, and responses" (Microsoft), and then params.
func (a *Resource) refuse(w http.ResponseWriter, status int, params, message string) {
	if status == http.StatusUnauthorized {
		challenge := fmt.Sprintf(`Bearer authorization="https://login.microsoftonline.com/%s", resource="%s"`, a.tenant,
			a.audience)
		if params != "" {
			challenge += ", " + params
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	writeJSON(w, status, azureError(http.StatusText(status), message))
}

// azureError returns the body of an error in the format of Azure's services.
func azureError(code, message string) any {
	return map[string]any{"error": map[string]string{"code": code, "message": message}}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
