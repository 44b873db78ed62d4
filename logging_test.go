package managedid

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLogger_records(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var out bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
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
		f := &fakeIMDS{script: func(_ int, r *http.Request) (*http.Response, error) {
			switch status {
			case 200:
				return respond(r, 200, fmt.Sprintf(`{"access_token":%q,"client_id":%q,"expires_in":"3600"}`, secretToken, named), "Server", "IMDS/150"), nil
			case 429:
				return respond(r, 429, "{}", "Retry-After", "5", "Server", "IMDS/150"), nil
			}
			return respond(r, status, `{"error":"invalid_request","error_description":"Identity not found"}`, "Server", "IMDS/150"), nil
		}}
		o := ManagedIdentityCredentialOptions{Logger: logger, Cache: exactCache(), ID: ClientID(someGUID), ClientOptions: noRetries}
		o.Transport = f
		blankEnvironment(t)
		c, err := NewManagedIdentityCredential(&o)
		require.NoError(t, err)
		o.ID = nil
		system, err := NewManagedIdentityCredential(&o)
		require.NoError(t, err)
		const who = ` credential="ManagedIdentityCredential: IMDS" `
		const request = who + `scope=` + vault + ` took=0s tries=1 `
		for range 3 { // hits say nothing
			require.NoError(t, get(ctx0, c, vault).err)
		}
		said(`level=DEBUG msg="token received"` + request + `expires=2000-01-01T01:00:00.000Z clientID=` + someGUID)
		named = someSecret
		require.NoError(t, get(ctx0, system, vault).err)
		said(`level=DEBUG msg="token received"` + request + `expires=2000-01-01T01:00:01.000Z clientID=""`)
		time.Sleep(56*time.Minute - 2*time.Second)
		status = 400
		require.NoError(t, get(ctx0, c, vault).err)
		said(`level=WARN msg="token refresh failed"` + request + `error="ManagedIdentityCredential: IMDS: ` + strings.ReplaceAll(noneWithID, `"`, `\"`) +
			` (400 Bad Request, invalid_request: Identity not found)" left=4m0s`)
		status = 429
		require.Error(t, get(ctx0, c, "https://storage.azure.com/.default").err)
		said(`level=WARN msg="endpoint throttled"`+who+`status=429 until=2000-01-01T00:56:06.000Z`,
			`level=WARN msg="token request failed"`+strings.ReplaceAll(request, vault, "https://storage.azure.com/.default")+
				`error="ManagedIdentityCredential: IMDS: the endpoint is throttling this host (429 Too Many Requests)"`)
	})
}
