package managedid

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"
)

// echoes are answers that repeat what must not come out again: %s stands for the secret or the assertion.
var echoes = map[string]func(secret string) script{
	"token": func(string) script { return nil },
	"wrong secret": func(string) script {
		return answerWith(401, entraError(7000215, "invalid_client", "Invalid client secret provided."))
	},
	"expired":     func(string) script { return answerWith(401, entraError(700024, "invalid_client", "x")) },
	"in the text": func(s string) script { return answerWith(400, entraError(1, "invalid_request", "bad "+s+".")) },
	"as it was sent": func(s string) script {
		return answerWith(400, entraError(1, "x", "client_secret="+url.QueryEscape(s)+"&x"))
	},
	"in the error":    func(s string) script { return answerWith(400, entraError(1, s, "x")) },
	"twice, throttle": func(s string) script { return answerWith(429, entraError(1, s, s+s)) },
	"nested": func(s string) script {
		b, _ := json.Marshal(map[string]any{"error": map[string]any{"code": s, "message": "bad " + s}})
		return answerWith(500, string(b))
	},
	"in HTML":                func(s string) script { return answerWith(403, "<html>"+s) },
	"in broken JSON":         func(s string) script { return answerWith(200, `{"access_token":"`+secretToken+`","x":"`+s+`"`) },
	"without expiry":         func(s string) script { return answerWith(200, `{"access_token":"`+secretToken+`"}`) },
	"in a redirect":          func(s string) script { return redirectWith(s) },
	"in the status":          func(s string) script { return failWith("malformed HTTP status code \"" + s + "\"") },
	"in a transport's error": func(s string) script { return failWith("refused the body " + s) },
	"in another, as sent":    func(s string) script { return failWith("refused the body client_secret=" + url.QueryEscape(s)) },
	"in a bad header":        func(s string) script { return failWith("malformed MIME header line: " + s) },
}

// printer is a policy of a user's that prints what it can.
type printer struct{ out *lockedBuffer }

func (p printer) Do(req *policy.Request) (*http.Response, error) {
	fmt.Fprintf(p.out, "%v\n%+v\n%#v\n", req, req, req)
	fmt.Fprintf(p.out, "%v\n%+v\n%#v\n", *req, *req, *req)
	return req.Next()
}

func redirectWith(s string) script {
	return func(_ int, r *http.Request) (*http.Response, error) {
		return respond(r, 307, "", "Location", "https://127.0.0.1:1/?"+url.QueryEscape(s)), nil
	}
}

func failWith(text string) script {
	return func(int, *http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("net/http: HTTP/1.x transport connection broken: %s", text)
	}
}

func TestSecrets_ofEntraAppearNowhereButInTheBody(t *testing.T) {
	const assertion = "aGVhZGVy.cDhfczNjcjN0.c2lnbmF0dXJl"
	for name, echo := range echoes {
		for parameter, secret := range map[string]string{"client_secret": someSecret, "client_assertion": assertion} {
			t.Run(name+", "+parameter, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					out := &lockedBuffer{}
					azcoreLog.Store(out)
					defer azcoreLog.Store(nil)
					f := &fakeEntra{script: echo(secret)}
					o := azcore.ClientOptions{Transport: f, TracingProvider: recorder(out),
						Logging: policy.LogOptions{IncludeBody: true, AllowedHeaders: []string{"authorization"}, AllowedQueryParams: []string{"client_secret"}}}
					o.PerCallPolicies = []policy.Policy{printer{out}}
					o.PerRetryPolicies = o.PerCallPolicies
					logger := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
					cache := NewTokenCache(nil)
					blankEnvironment(t)
					setenv(t, "AZURE_TENANT_ID="+someTenant, "AZURE_CLIENT_ID="+someClient)
					if parameter == "client_secret" {
						t.Setenv("AZURE_CLIENT_SECRET", secret)
					} else {
						path := filepath.Join(t.TempDir(), "token")
						writeFile(t, path, secret+"\n")
						t.Setenv("AZURE_FEDERATED_TOKEN_FILE", path)
					}
					c := newDefault(t, DefaultAzureCredentialOptions{ClientOptions: o, Cache: cache, Logger: logger})
					for _, cae := range []bool{false, true} {
						ctx, cancel := context.WithTimeout(ctx0, 10*time.Minute)
						token, err := c.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{vault}, EnableCAE: cae})
						cancel()
						require.Equal(t, err == nil, token.Token != "")
						printAll(out, err)
					}
					synctest.Wait() // for the log
					for _, v := range []any{c, *c, c.chain.links, cache} {
						printAll(out, v)
					}
					for _, l := range c.chain.links[:2] {
						if l.own != nil {
							printAll(out, *l.own)
							printAll(out, *l.own.source)
						}
					}
					for _, form := range f.forms {
						require.True(t, form.Get(parameter) == secret)
					}
					for _, r := range f.sent {
						fmt.Fprintln(out, r.URL, r.Header)
					}
					require.Contains(t, out.String(), "Credential: Entra")
					for _, part := range []string{secret, url.QueryEscape(secret), secretToken, "s3cr3t", "cDhfczNjcjN0"} {
						for line := range strings.SplitSeq(out.String(), "\n") {
							require.False(t, strings.Contains(line, part), "something secret in the output")
						}
					}
				})
			})
		}
	}
}
