package conformance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/answer"
)

// secretFault is what an endpoint, or what is in its place, does with a request; said is what proved the identity.
type secretFault struct {
	name   string
	answer func(r *http.Request, said string) (*http.Response, error)
}

// secretFaults are answers, and what comes in place of one.
var secretFaults = []secretFault{
	{"a token", func(r *http.Request, _ string) (*http.Response, error) {
		return respond(r, 200, canaryAnswer(time.Hour)), nil
	}},
	{"a token of a second", func(r *http.Request, _ string) (*http.Response, error) {
		return respond(r, 200, canaryAnswer(time.Second)), nil
	}},
	{"a token that has expired", func(r *http.Request, _ string) (*http.Response, error) {
		return respond(r, 200, canaryAnswer(-time.Hour)), nil
	}},
	{"a token without expiry", echoing(200, `{"access_token":"TOKEN","x":SAID}`)},
	{"an expiry that is none", echoing(200, `{"access_token":"TOKEN","expires_on":"TOKEN","expires_in":SAID}`)},
	{"a token in the wrong place", echoing(200, `{"access_token":{"TOKEN":SAID},"error":"TOKEN","error_description":SAID}`)},
	{"half an answer", echoing(200, `{"access_token":"TOKEN","x":SAID`)},
	{"HTML", echoing(200, `<html>TOKEN SAID`)},
	{"a list", echoing(200, `["TOKEN",SAID]`)},
	{"a refusal in HTML", echoing(403, `<html>TOKEN SAID`)},
	{"a refusal that describes", echoing(400, `{"error":"invalid_request","error_description":SAID,"access_token":"TOKEN"}`)},
	{"a refusal with a token", echoing(401, `{"error":"invalid_client","error_description":"not TOKEN"}`)},
	{"a refusal with half a token", echoing(400, `{"error":"x","error_description":"not HALF"}`)},
	{"a code", echoing(400, `{"error":SAID,"error_description":"x"}`)},
	{"an expired assertion", echoing(401, `{"error":"invalid_client","error_description":SAID,"error_codes":[700024]}`)},
	{"a message", echoing(500, `{"statusCode":500,"message":SAID}`)},
	{"nested", echoing(404, `{"error":{"code":SAID,"message":SAID}}`)},
	{"throttling", echoing(429, `{"error":SAID}`)},
	{"no server", echoing(503, `{"error":"temporarily_unavailable","error_description":SAID}`)},
	{"as it was sent", func(r *http.Request, said string) (*http.Response, error) {
		return respond(r, 400, `{"error":"x","error_description":"`+escaped(said)+`"}`), nil
	}},
	{"headers", func(r *http.Request, said string) (*http.Response, error) {
		return respond(r, 403, "", "Set-Cookie", said, "X-Identity-Header", said, "Secret", said, "Authorization", said, "WWW-Authenticate", "Bearer "+said,
			"X-Other", escaped(said)), nil
	}},
	{"a status line", func(r *http.Request, said string) (*http.Response, error) {
		resp := respond(r, 403, "")
		resp.Status = "403 " + said
		return resp, nil
	}},
	{"a redirect", func(r *http.Request, said string) (*http.Response, error) {
		return respond(r, 307, "", "Location", "https://127.0.0.1:1/?"+url.QueryEscape(said)), nil
	}},
	{"a huge answer", func(r *http.Request, said string) (*http.Response, error) {
		return respond(r, 200, strings.Repeat(said, answer.MaxBody/10)), nil
	}},
	{"an answer that breaks off", func(r *http.Request, said string) (*http.Response, error) {
		resp := respond(r, 200, "")
		resp.Body, resp.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader(canaryToken), brokenReader{errors.New("after " + said)})), -1
		return resp, nil
	}},
	{"refused", func(*http.Request, string) (*http.Response, error) { return nil, errRefused }},
	{"an error that quotes", func(_ *http.Request, said string) (*http.Response, error) {
		return nil, fmt.Errorf("malformed HTTP response %q", said)
	}},
	{"an error that repeats", func(_ *http.Request, said string) (*http.Response, error) {
		return nil, errors.New("transport failed: " + said + escaped(said))
	}},
	{"an error in JSON", func(_ *http.Request, said string) (*http.Response, error) { return nil, errors.New(inJSON(said)[1:]) }},
	{"an error with the URL", func(_ *http.Request, said string) (*http.Response, error) {
		return nil, &url.Error{Op: "Get", URL: "http://x/?" + said, Err: errors.New("after " + said)}
	}},
	{"an error of a connection", func(_ *http.Request, said string) (*http.Response, error) {
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: fmt.Errorf("after: %w", errors.New(said))}
	}},
	{"a certificate", func(_ *http.Request, said string) (*http.Response, error) {
		return nil, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{Cert: &x509.Certificate{Raw: []byte(said)}}}
	}},
	{"a verification", func(_ *http.Request, said string) (*http.Response, error) {
		return nil, &tls.CertificateVerificationError{Err: errors.New("x509: " + said)}
	}},
	{"a name", func(_ *http.Request, said string) (*http.Response, error) {
		return nil, &net.DNSError{Err: said, Name: said}
	}},
	{"nothing at all", func(*http.Request, string) (*http.Response, error) { return nil, nil }},
	{"silence", func(r *http.Request, _ string) (*http.Response, error) { return nil, delayed(r, time.Hour) }},
	{"an ended goroutine", func(*http.Request, string) (*http.Response, error) { runtime.Goexit(); return nil, nil }},
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

func canaryAnswer(life time.Duration) string {
	return fmt.Sprintf(`{"access_token":%q,"client_id":%q,"expires_on":"%d","token_type":"Bearer"}`, canaryToken, someClient, time.Now().Add(life).Unix())
}

func echoing(status int, body string) func(*http.Request, string) (*http.Response, error) {
	return func(r *http.Request, said string) (*http.Response, error) {
		replaced := strings.NewReplacer("TOKEN", canaryToken, "HALF", canaryToken[:30], "SAID", inJSON("you sent "+said+" and "+said)).Replace(body)
		return respond(r, status, replaced, "Server", "IMDS/150.870.65.1475"), nil
	}
}

func escaped(said string) string { return url.QueryEscape(said) + " " + url.PathEscape(said) }

// rogue answers with a fault, once Arc's challenge was met.
type rogue struct {
	w     *witness
	fault secretFault
	keys  string // Arc's folder; "": no Arc

	sends string      // a canary
	sent  atomic.Bool // it was sent
	tries atomic.Int32
}

func (g *rogue) Do(r *http.Request) (*http.Response, error) {
	if g.keys != "" && r.Header.Get("Authorization") == "" {
		return respond(r, 401, "", "WWW-Authenticate", "Basic realm="+filepath.Join(g.keys, "a.key")), nil
	}
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	form, _ := url.ParseQuery(string(body))
	said := strings.TrimSpace(form.Get("client_secret") + form.Get("client_assertion"))
	for _, name := range secretHeaders {
		said += r.Header.Get(name)
	}
	g.sent.Store(g.sent.Load() || strings.Contains(said, g.sends))
	if g.tries.Add(1) < 3 {
		g.w.dump()
	}
	return g.fault.answer(r, said)
}

// mute stands for the library's own transport, where a source takes no other: what its errors say is the library's.
type mute struct{ policy.Transporter }

func (m mute) Do(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if v := recover(); v != nil || err != nil {
			resp, err = nil, errRefused
		}
	}()
	return m.Transporter.Do(r)
}

// askRogue has a credential ask for tokens: with callers that leave, too. It returns the channels that were in use.
func askRogue(t *testing.T, k canaries, row secretRow, fault secretFault) []string {
	blankEnvironment(t)
	w := newWitness(t, k)
	g := &rogue{w: w, fault: fault, sends: row.sends}
	c := cell{options: w.options(), cache: managedid.NewTokenCache(nil), logger: w.logger()}
	if row.sends == canaryArc {
		g.keys = arcFolder(t)
		writeFile(t, filepath.Join(g.keys, "a.key"), canaryArc+"\n")
	}
	if row.inPolicy {
		c.options.PerRetryPolicies = append(c.options.PerRetryPolicies, inPolicy(mute{g}).PerRetryPolicies...)
	} else {
		c.options.Transport = g
	}
	credential, err := row.make(t, c)
	require.NoError(t, err)
	for i, o := range []policy.TokenRequestOptions{{}, {EnableCAE: true}, {Claims: `{"access_token":{"nbf":{"essential":true}}}`}, {Scopes: []string{""}}} {
		if o.Scopes == nil {
			o.Scopes = []string{vault}
		}
		ctx, cancel := context.WithTimeout(ctx0, []time.Duration{10 * time.Minute, time.Second, time.Millisecond, time.Minute}[i])
		token, err := credential.GetToken(ctx, o)
		cancel()
		require.Equal(t, err == nil, token.Token == canaryToken)
		w.showError(err)
	}
	w.dump()
	synctest.Wait() // for the log
	w.showCredential(credential)
	w.show("cache", c.cache)
	c.options.Transport = nil // the rogue
	w.show("options", c.options)
	require.Equal(t, row.sends != never, g.sent.Load(), "true: the endpoint saw the canary, in a header that secretHeaders of secrets_test.go has, or in the body")
	return w.requireSilence(t)
}

const secretsChild = "MANAGEDID_TEST_SECRETS"

// It runs in a process of its own, whose output is a channel too.
func TestSecrets_comeOutNowhere(t *testing.T) {
	k := newCanaries(t)
	if os.Getenv(secretsChild) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSecrets_comeOutNowhere$", "-test.v")
		cmd.Env = append(os.Environ(), secretsChild+"=1")
		out, err := cmd.CombinedOutput()
		require.Empty(t, k.find(string(out)), "came out by: the process's output")
		require.NoError(t, err, "%s", out)
		return
	}
	used := map[string]bool{}
	use := func(channels []string) {
		for _, c := range channels {
			used[c] = true
		}
	}
	whole := map[string]bool{} // the secrets that met every fault; another credential with the same one meets some
	for n, row := range secretRows {
		sent := fmt.Sprint(row.sends, row.inPolicy)
		for i, fault := range secretFaults {
			if i > 0 && (row.sends == never || whole[sent] && i%7 != n%7) {
				continue
			}
			t.Run(row.name+", "+fault.name, func(t *testing.T) {
				bubble(t, func(t *testing.T) { use(askRogue(t, k, row, fault)) })
			})
		}
		whole[sent] = true
	}
	for _, row := range secretTools {
		t.Run(row.program+", "+row.name, func(t *testing.T) { use(askTool(t, k, row)) })
	}
	for _, host := range secretHosts {
		t.Run("emulator, "+string(host), func(t *testing.T) { use(askEmulator(t, k, host)) })
	}
	for _, channel := range []string{"span", "slog", "azcore's log", "policy %#v", "credential %#v", "credential JSON", "options %+v", "cache %#v", "goroutines",
		"error %q", "error JSON", "error's body", "error's response %+v", "error's request %#v", "emulator %#v", "the emulator's files"} {
		require.True(t, used[channel], channel)
	}
}
