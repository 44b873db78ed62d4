package managedidtest

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzServe checks that the emulator answers every request, and never returns a token of an identity that it does not
// have.
func FuzzServe(f *testing.F) {
	for _, path := range []string{"/metadata/identity/oauth2/token", "/msi/token", "/MSI/token", "/oauth2/token",
		"/metadata/identity/oauth2/token/", "/tenant/oauth2/v2.0/token", "/"} {
		f.Add("GET", path, "api-version=2018-02-01&resource=https://vault.azure.net/", "Metadata: true", "")
		f.Add("POST", path, "", "Content-Type: application/x-www-form-urlencoded",
			"grant_type=client_credentials&client_id=a&client_assertion=e30.e30.&scope=x/.default&claims={}")
		f.Add("GET", path, "resource=a&resource=b&client_id=%zz", "Authorization: Basic x", "")
	}
	keys := f.TempDir()
	f.Fuzz(func(t *testing.T, method, path, query, header, body string) {
		u := &url.URL{Scheme: "http", Host: "169.254.169.254", Path: path, RawQuery: query}
		r, err := http.NewRequest(method, "http://169.254.169.254/", strings.NewReader(body))
		if err != nil {
			t.Skip()
		}
		r.URL = u
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
		e := New(&Options{KeyDir: keys})
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		require.GreaterOrEqual(t, w.Code, 200)
		require.Less(t, w.Code, 600)
		if strings.Contains(w.Body.String(), "access_token\":") {
			require.Equal(t, http.StatusOK, w.Code)
			require.Equal(t, "true", strings.ToLower(r.Header.Get("Metadata")), "nothing else here proves an identity")
		}
	})
}
