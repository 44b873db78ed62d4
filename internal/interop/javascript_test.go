package interop

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// javascript has Azure's libraries for JavaScript in the versions of npm/package-lock.json.
func javascript(t *testing.T) {
	t.Helper()
	recent, err := exec.Command("node", "-p", "parseInt(process.versions.node) >= 20").Output()
	if err == nil {
		_, err = exec.LookPath("npm")
	}
	if err != nil || string(recent) != "true\n" {
		const message = "needs npm and Node.js 20 or later: apt-get install nodejs npm, or where these are older, https://nodejs.org/en/download"
		if os.Getenv("CI") != "" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	require.NoError(t, install())
}

// install makes node_modules, all of it at once, unless it is there.
var install = sync.OnceValue(func() error {
	const modules = "npm/node_modules"
	exists := func() bool { _, err := os.Stat(modules); return err == nil }
	if exists() {
		return nil
	}
	part, err := os.MkdirTemp("npm", "node_modules-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(part)
	for _, name := range []string{"package.json", "package-lock.json"} {
		content, err := os.ReadFile(filepath.Join("npm", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(part, name), content, 0o600)
		}
		if err != nil {
			return err
		}
	}
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = part
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci in internal/interop/npm: %w: %s", err, out)
	}
	if err := os.Rename(filepath.Join(part, "node_modules"), modules); err != nil && !exists() { // another process may have been faster
		return err
	}
	return nil
})

// nodeEnviron is that of a process on the host, with the host's files: nothing of this machine's is in it.
func nodeEnviron(t *testing.T, s *managedidtest.Server, host managedidtest.Endpoint) map[string]string {
	t.Helper()
	var err error
	switch host {
	case managedidtest.Arc:
		err = s.MakeKeyDir()
	case managedidtest.Workload:
		_, err = s.NewTokenFile(t.TempDir(), nil)
	case managedidtest.EntraCertificate:
		_, err = s.NewCertificateFile(t.TempDir())
	}
	require.NoError(t, err)
	env := s.Environ(host)
	maps.DeleteFunc(env, func(_, value string) bool { return value == "" })
	env["NODE_EXTRA_CA_CERTS"] = filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t, os.WriteFile(env["NODE_EXTRA_CA_CERTS"], s.CertificatePEM(), 0o600))
	return env
}

// printed is what get.mjs prints.
type printed struct {
	Token   string `json:"token"`
	Expires int64  `json:"expires"` // milliseconds since 1970
	Value   string `json:"value"`
	Error   string `json:"error"`
}

// node runs get.mjs. What it prints has tokens in it, and is shown to nobody.
func node(t *testing.T, env map[string]string, args ...string) (got printed) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append([]string{"npm/get.mjs"}, args...)...)
	cmd.Env = []string{} // nil would be this process's
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.True(t, err == nil, "%s", &stderr)
	require.True(t, json.Unmarshal(out, &got) == nil, "get.mjs prints JSON")
	return got
}

// verify asserts that there is a good token, and that the library understood until when.
func (p printed) verify(t *testing.T, s *managedidtest.Server, resource string) managedidtest.Claims {
	t.Helper()
	require.Empty(t, p.Error)
	c, err := managedidtest.VerifyToken(t.Context(), s.Client(), s.JWKSURL(), p.Token, resource)
	require.NoError(t, err)
	require.WithinDuration(t, c.Expires, time.UnixMilli(p.Expires), time.Minute, "it counts from its own clock")
	return c
}

// sentFor are the requests for a resource, which a server that several tests share has in its log.
func sentFor(s *managedidtest.Server, resource string) []managedidtest.Request {
	return slices.DeleteFunc(s.Requests(), func(r managedidtest.Request) bool { return r.Resource != resource })
}

const managedIdentity = "ManagedIdentityCredential"

// optionsFor are those of ManagedIdentityCredential for a kind of identity.
func optionsFor(kind int) string {
	return [...]string{`{}`, `{"clientId":"` + user.ClientID + `"}`, `{"objectId":"` + user.ObjectID + `"}`, `{"resourceId":"` + user.ResourceID + `"}`}[kind]
}

// javascriptHost is an environment with a managed identity endpoint, and what the library sends there.
type javascriptHost struct {
	endpoint  managedidtest.Endpoint
	request   string            // method and path
	version   string            // zero: none is sent
	selectors [4]string         // parameters by kind of identity; "-" for none; "" where the library refuses the kind
	headers   map[string]string // of those in headersOfInterest; $NAME is a variable's value
}

// The variable for IMDS makes the library end its path with a slash.
var (
	javascriptIMDS = javascriptHost{managedidtest.IMDS, tokenPath + "/", "2018-02-01", [4]string{"-", "client_id", "object_id", "msi_res_id"},
		map[string]string{"Metadata": "true", "X-Client-Sku": "msal.js.node"}}
	javascriptArc = javascriptHost{managedidtest.Arc, "GET /arc/metadata/identity/oauth2/token", "2020-06-01", javascriptIMDS.selectors,
		map[string]string{"Metadata": "true"}}

	javascriptHosts = []javascriptHost{
		javascriptIMDS,
		{managedidtest.AppService, "GET /msi/token", "2019-08-01", [4]string{"-", "client_id", "object_id", "mi_res_id"},
			map[string]string{"X-Identity-Header": "$IDENTITY_HEADER"}},
		{managedidtest.CloudShell, "POST /oauth2/token", "", [4]string{"-"}, map[string]string{"Metadata": "true"}},
		{managedidtest.AzureML, "GET /msi/auth", "2017-09-01", [4]string{"clientid", "clientid"},
			map[string]string{"Metadata": "true", "Secret": "$MSI_SECRET"}},
		{managedidtest.ServiceFabric, tokenPath, "2019-07-01-preview", [4]string{"-"}, map[string]string{"Secret": "$IDENTITY_HEADER"}},
	}
)

func TestJavaScript_managedIdentity(t *testing.T) {
	javascript(t)
	for _, h := range javascriptHosts {
		s := managedidtest.NewServer(options())
		t.Cleanup(s.Close)
		h.check(t, s, nodeEnviron(t, s, h.endpoint))
	}
}

// check has the library get a token for each kind of identity that it takes on the host.
func (h javascriptHost) check(t *testing.T, s *managedidtest.Server, env map[string]string) {
	t.Helper()
	for kind, selector := range h.selectors {
		if selector == "" {
			continue
		}
		t.Run(string(h.endpoint)+" "+kinds[kind], func(t *testing.T) {
			t.Parallel()
			resource := newResource()
			c := node(t, env, managedIdentity, optionsFor(kind), "token", resource).verify(t, s, resource)
			require.Equal(t, kind != system, c.ObjectID == user.ObjectID)
			sent := sentFor(s, resource)
			want := url.Values{"resource": {resource}}
			if h.version != "" {
				want.Set("api-version", h.version)
			}
			if selector != "-" {
				want.Set(selector, cmp.Or(idOf(kind), env["DEFAULT_IDENTITY_CLIENT_ID"]))
			}
			h.checkSent(t, sent, want, env)
			require.Equal(t, c.ClientID, sent[len(sent)-1].Identity)
		})
	}
}

// checkSent asserts that the requests are those for one token: at Azure Arc two, of which only the second has the key.
func (h javascriptHost) checkSent(t *testing.T, sent []managedidtest.Request, want url.Values, env map[string]string) {
	t.Helper()
	last := map[bool]int{true: 1}[h.endpoint == managedidtest.Arc]
	require.Len(t, sent, last+1)
	for i, r := range sent {
		require.Equal(t, h.endpoint, r.Endpoint)
		require.Equal(t, h.request, r.Method+" "+r.Path)
		if r.Method == http.MethodPost {
			require.Empty(t, r.Query)
			require.Equal(t, want, r.Form)
		} else {
			require.Equal(t, want, r.Query)
		}
		require.Contains(t, r.Header.Get("User-Agent"), "azsdk-js-identity/4.13.1 ")
		for _, name := range headersOfInterest {
			require.True(t, r.Header.Get(name) == os.Expand(h.headers[name], func(name string) string { return env[name] }), name)
		}
		require.Equal(t, i == 1, r.Header.Get("Authorization") != "", "the key of Azure Arc")
		require.Equal(t, i < last, r.Status == http.StatusUnauthorized)
	}
}
