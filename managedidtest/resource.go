package managedidtest

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// NewResource starts an API that accepts only tokens of this emulator for the audience, an HTTPS server on loopback for
// [Server.Client]. It verifies a request's bearer token like [VerifyToken], with the keys that it fetches from JWKSURL when
// it meets a new one, and also demands the emulator's tenant. A good request goes on to next; if that is nil, the answer is
// 200 with the claims aud, appid and oid in JSON. Any other request gets 401 with a challenge that Azure SDK clients
// understand, or 503 if the keys cannot be had. [Server.Close] closes it.
func (s *Server) NewResource(audience string, next http.Handler) *httptest.Server {
	r := &resource{state: s.s, tenant: s.TenantID(), audience: audience, next: next, keys: &keySet{client: s.host.client, url: s.JWKSURL()}}
	srv := httptest.NewUnstartedServer(r)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{s.host.authority.issue(nil)}}
	srv.StartTLS()
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	s.host.resources = append(s.host.resources, srv)
	return srv
}

type resource struct {
	state            *state
	tenant, audience string
	next             http.Handler // nil: show the claims
	keys             *keySet
}

func (a *resource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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

// refuse sends Azure's form of an error: with 401, the challenge of Microsoft's page "Authentication, requests, and
// responses" of Key Vault, and further parameters.
func (a *resource) refuse(w http.ResponseWriter, status int, params, message string) {
	if status == http.StatusUnauthorized {
		challenge := fmt.Sprintf(`Bearer authorization="https://login.microsoftonline.com/%s", resource="%s"`, a.tenant, a.audience)
		if params != "" {
			challenge += ", " + params
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	writeJSON(w, status, map[string]any{"error": map[string]string{"code": http.StatusText(status), "message": message}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
