package conformance

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/tokens"
)

func TestLogger_records(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var out bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "until" { // which has a random part
				return slog.Attr{}
			}
			return a
		}}))
		said := func(want ...string) {
			t.Helper()
			time.Sleep(time.Second) // a flight logs after its caller has left
			synctest.Wait()
			require.ElementsMatch(t, want, strings.Split(strings.TrimSpace(out.String()), "\n"))
			out.Reset()
		}
		status, named := 200, someGUID
		f := &fakeIMDS{Script: func(_ int, r *http.Request) (*http.Response, error) {
			switch status {
			case 200:
				return respond(r, 200, fmt.Sprintf(`{"access_token":%q,"client_id":%q,"expires_in":"3600"}`, secretToken, named), "Server", "IMDS/150"), nil
			case 429:
				return respond(r, 429, "{}", "Retry-After", "5", "Server", "IMDS/150"), nil
			}
			return respond(r, status, `{"error":"invalid_request","error_description":"Identity not found"}`, "Server", "IMDS/150"), nil
		}}
		o := managedid.ManagedIdentityCredentialOptions{Logger: logger, Cache: exactCache(), ID: managedid.ClientID(someGUID), ClientOptions: noRetries}
		o.Transport = f
		blankEnvironment(t)
		c, err := managedid.NewManagedIdentityCredential(&o)
		require.NoError(t, err)
		o.ID = nil
		system, err := managedid.NewManagedIdentityCredential(&o)
		require.NoError(t, err)
		const assigned, host = ` credential=ManagedIdentityCredential source=IMDS identity="client ID ` + someGUID + `" `,
			` credential=ManagedIdentityCredential source=IMDS identity="the host's default identity" `
		const request = `scope=` + vault + ` took=0s tries=1 `
		for range 3 { // hits say nothing
			require.NoError(t, get(ctx0, c, vault).Err)
		}
		said(`level=DEBUG msg="token received"` + assigned + request + `expires=2000-01-01T01:00:00.000Z clientID=` + someGUID)
		named = someSecret
		require.NoError(t, get(ctx0, system, vault).Err)
		said(`level=DEBUG msg="token received"` + host + request + `expires=2000-01-01T01:00:01.000Z`)
		time.Sleep(56*time.Minute - 2*time.Second)
		status = 400
		require.NoError(t, get(ctx0, c, vault).Err)
		said(`level=WARN msg="token refresh failed"` + assigned + request + `reason=identity_not_found error="ManagedIdentityCredential: IMDS: ` +
			strings.ReplaceAll(noneWithID, `"`, `\"`) + ` (400 Bad Request, invalid_request: Identity not found); see ` + managedid.ReasonIdentityNotFound.Help() + `" left=4m0s`)
		status = 429
		require.Error(t, get(ctx0, c, "https://storage.azure.com/.default").Err)
		said(`level=WARN msg="endpoint throttled" source=IMDS endpoint=169.254.169.254 try=1 failure="429 Too Many Requests"`,
			`level=WARN msg="token request failed"`+assigned+strings.ReplaceAll(request, vault, "https://storage.azure.com/.default")+
				`reason=throttled error="ManagedIdentityCredential: IMDS: the endpoint is throttling this host (429 Too Many Requests); see `+managedid.ReasonThrottled.Help()+`"`)
	})
}

// levels are the records of a logger, as they come.
func levels(handled chan<- string) *slog.Logger {
	return slog.New(slog.NewTextHandler(recordWriter(handled), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type recordWriter chan<- string

func (w recordWriter) Write(p []byte) (int, error) { w <- string(p); return len(p), nil }

func TestLogger_aTransportThatHangsIsInARecordAtTheTrysLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hang, records := make(chan struct{}), make(chan string, 9)
		f := &fakeEntra{Script: func(int, *http.Request) (*http.Response, error) { <-hang; return nil, errRefused }}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{ClientOptions: noRetries, Logger: levels(records)})
		r := get(ctx0, c, vault)
		require.Equal(t, 20*time.Second, r.Took)
		synctest.Wait()
		both := <-records + <-records
		require.Contains(t, both, `msg="try failed"`)
		require.Contains(t, both, `msg="token request failed" credential=ClientSecretCredential source=Entra identity="application `+someClient+` in tenant `+someTenant+`"`)
		close(hang)
		synctest.Wait()
		require.Empty(t, records, "one record for one request")
	})
}

// Where a challenge was met, the token that is there helps nobody.
func TestLogger_aRefusedChallengeIsNoRefresh(t *testing.T) {
	bubble(t, func(t *testing.T) {
		records, f := make(chan string, 9), &fakeEntra{}
		f.Script = func(n int, r *http.Request) (*http.Response, error) {
			if n == 0 {
				return nil, nil
			}
			return respond(r, 400, `{"error":"made_up"}`), nil
		}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{ClientOptions: noRetries, Logger: levels(records)})
		require.NoError(t, get(ctx0, c, vault).Err)
		require.Contains(t, <-records, "token received")
		require.Error(t, getWithClaims(c, claimsA).Err)
		require.Contains(t, <-records, "token request failed")
	})
}

// While a caller waits, the log says for what.
func TestLogger_eachTryThatFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		records := make(chan string, 9)
		f := &fakeEntra{Script: func(n int, r *http.Request) (*http.Response, error) {
			return []*http.Response{nil, respond(r, 503, ""), nil}[n], []error{errRefused, nil, nil}[n]
		}}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{Logger: levels(records)})
		require.NoError(t, get(ctx0, c, vault).Err)
		synctest.Wait()
		for _, want := range []string{`level=DEBUG msg="try failed" source=Entra endpoint=login.microsoftonline.com try=1 failure="dial: connection refused"`,
			`level=DEBUG msg="try failed" source=Entra endpoint=login.microsoftonline.com try=2 failure="503 Service Unavailable"`,
			`level=DEBUG msg="token received" credential=ClientSecretCredential source=Entra identity="application ` + someClient + " in tenant " + someTenant + `" scope=` + vault} {
			require.Contains(t, <-records, want)
		}
		require.Empty(t, records)
	})
}

// An answer that comes when nobody waits for it closes the gate all the same.
// An SDK's client puts "context deadline exceeded" in the place of the error, so that the log alone says why.
func TestLogger_aCallerWhoLeavesIsInARecordOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		records := make(chan string, 9)
		f := &fakeEntra{Script: func(int, *http.Request) (*http.Response, error) { return nil, errRefused }}
		c := newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{
			Logger: slog.New(slog.NewTextHandler(recordWriter(records), nil))})
		for range 3 {
			ctx, cancel := context.WithTimeout(ctx0, time.Millisecond)
			require.ErrorIs(t, get(ctx, c, vault).Err, context.DeadlineExceeded)
			cancel()
		}
		synctest.Wait()
		require.Contains(t, <-records, `level=WARN msg="caller left without a token" credential=ClientSecretCredential source=Entra identity="application `+someClient+
			" in tenant "+someTenant+`" scope=`+vault+` reason=not_ready error="ClientSecretCredential: Entra: no token before the caller's context ended (the endpoint's last failure: dial: connection refused)`)
		require.Empty(t, records)
		time.Sleep(tokens.FlightLimit)
	})
}
