package managedidtest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const vault = "https://vault.azure.net"

// newServer starts a server whose test leaves no goroutine behind.
func newServer(t *testing.T, o *Options) *Server {
	t.Helper()
	before := runtime.NumGoroutine()
	srv := NewServer(o)
	t.Cleanup(func() {
		srv.Close()
		for i := 0; runtime.NumGoroutine() > before; i++ {
			if i == 1_000_000 {
				stacks := make([]byte, 1<<20)
				t.Fatalf("goroutines left:\n%s", stacks[:runtime.Stack(stacks, true)])
			}
			runtime.Gosched()
		}
	})
	return srv
}

// newGet makes a good request to an endpoint. The query is given as "name=value"; one without a value removes the name.
func newGet(t *testing.T, e *Emulator, to Endpoint, query ...string) *http.Request {
	t.Helper()
	paths := map[Endpoint]string{IMDS: imdsPath, AppService: appServicePath, Keys: keysPath}
	req, err := http.NewRequest(http.MethodGet, e.URL+"/"+paths[to], nil)
	require.NoError(t, err)
	q := url.Values{}
	switch to {
	case IMDS:
		q.Set("api-version", "2018-02-01")
		req.Header.Set("Metadata", "true")
	case AppService:
		q.Set("api-version", "2019-08-01")
		req.Header.Set("X-IDENTITY-HEADER", e.Environ(AppService)["IDENTITY_HEADER"])
	}
	if to != Keys {
		q.Set("resource", vault)
	}
	for _, p := range query {
		name, value, found := strings.Cut(p, "=")
		if q.Del(name); found {
			q.Set(name, value)
		}
	}
	req.URL.RawQuery = q.Encode()
	return req
}

// send returns the answer's status, headers and body.
func send(t *testing.T, via interface {
	Do(*http.Request) (*http.Response, error)
}, req *http.Request) (int, http.Header, string) {
	t.Helper()
	resp, err := via.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header, string(body)
}

// getToken returns the fields of a successful answer.
func getToken(t *testing.T, e *Emulator, from Endpoint, query ...string) map[string]string {
	t.Helper()
	status, _, body := send(t, e, newGet(t, e, from, query...))
	require.Equal(t, http.StatusOK, status, body)
	var fields map[string]string
	require.NoError(t, json.Unmarshal([]byte(body), &fields))
	return fields
}

// status sends a good request to IMDS and returns the answer's status.
func status(t *testing.T, e *Emulator) int {
	t.Helper()
	status, _, _ := send(t, e, newGet(t, e, IMDS))
	return status
}
