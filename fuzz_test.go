package managedid

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/tokens"
)

func TestVector1_recordedAnswersOfEachSource(t *testing.T) {
	recorded := map[string]struct{ at, expires int64 }{
		"appservice-container-apps.json": {1586898335, 1586984735},
		"appservice-functions.json":      {1586898335, 1586984735},
		"appservice-2017-docs.json":      {1505260800, 1505347200},
		"appservice-2017-linux.json":     {1560901321, 1560987721},
		"appservice-2017-windows.json":   {1579065852, 1579152252},
		"arc.json":                       {1740186826, 1740273225},
		"azureml.json":                   {1697733278, 1697818980},
		"cloudshell.json":                {1740186826, 1740190725},
		"entra.json":                     {1740186826, 1740190425},
		"imds-system.json":               {1740186826, 1740272916},
		"imds-user.json":                 {1740186826, 1740272916},
		"podidentity-sidecar.json":       {1740186826, 1740273225},
		"servicefabric.json":             {1565158211, 1565244611},
	}
	for name, body := range answers(t) {
		row, ok := recorded[name]
		at := time.Unix(row.at, 0).UTC()
		got, err := decodeToken(body, "", at, at)
		require.Equal(t, !ok, strings.HasPrefix(name, "malformed-"), name)
		if !ok {
			require.Error(t, err, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, azcore.AccessToken{Token: secretToken, ExpiresOn: time.Unix(row.expires, 0).UTC(), RefreshOn: got.RefreshOn}, got.AccessToken, name)
		delete(recorded, name)
	}
	require.Empty(t, recorded, "recordings that are not there")
}

// answers reads testdata/answers, by file name.
func answers(tb testing.TB) map[string][]byte {
	tb.Helper()
	files, err := filepath.Glob("testdata/answers/*.json")
	require.NoError(tb, err)
	require.NotEmpty(tb, files)
	bodies := map[string][]byte{}
	for _, f := range files {
		body, err := os.ReadFile(f)
		require.NoError(tb, err)
		bodies[filepath.Base(f)] = body
	}
	return bodies
}

// expiresOnSeeds are forms of expires_on, and things near them.
var expiresOnSeeds = []string{`"1740272916"`, `1740272916`, `"06/19/2019 23:42:01 +00:00"`, `"1/16/2020 5:24:12 AM +00:00"`,
	`"09/14/2017 00:00:00 PM +00:00"`, `"2025-02-23T01:08:36Z"`, `"2025-02-23 01:08:36"`, `"9999-12-31T23:59:59-14:00"`, `253402300799`,
	`"0x7fffffff"`, `"1e10"`, `-1`, `1e999`, `"NaN"`, `1499999999`, `null`, `{}`, `""`, `"T T T"`, `"AM PM"`}

func FuzzDecodeToken(f *testing.F) {
	recorded := answers(f)
	for _, name := range slices.Sorted(maps.Keys(recorded)) {
		f.Add(recorded[name], int64(0))
		f.Add(append(slices.Clone(bom), recorded[name]...), int64(120))
	}
	for _, s := range expiresOnSeeds {
		f.Add([]byte(withToken(`,"expires_on":`+s)), int64(1))
		f.Add([]byte(withToken(`,"expires_in":`+s+`,"refresh_in":`+s)), int64(1))
	}
	f.Fuzz(func(t *testing.T, body []byte, tookSeconds int64) {
		sent := july2017
		now := sent.Add(time.Duration(uint64(tookSeconds)%180) * time.Second)
		got, err := decodeToken(body, "", sent, now)
		if err != nil {
			require.Contains(t, decodeErrors, err.Error())
			require.Zero(t, got)
			return
		}
		requireUsable(t, got, now)
		again, err := decodeToken([]byte(tokenBodyOf(got)), "", now, now)
		require.NoError(t, err)
		require.Equal(t, got.ExpiresOn.Truncate(time.Second), again.ExpiresOn)
		require.True(t, got.Token == again.Token)
		if !got.RefreshOn.IsZero() {
			require.Equal(t, time.UTC, got.RefreshOn.Location())
			require.True(t, got.RefreshOn.After(sent))
			require.True(t, got.RefreshOn.Before(got.ExpiresOn))
		}
		requireOwn(t, body)
		plan := got.Planned(now, tokens.DefaultRefreshBefore)
		require.True(t, plan.Due().After(now))
		require.False(t, plan.Due().After(plan.ExpiresOn))
		require.Equal(t, tokens.Fresh, plan.Freshness(now))
		date := sent.Add(time.Duration(tookSeconds>>8%1e6) * time.Second)
		if got, err = decodeToken(body, date.Format(http.TimeFormat), sent, now); err == nil {
			requireUsable(t, got, now)
		}
	})
}

// requireOwn checks that a token is taken for the identity that its answer names, and for no other.
func requireOwn(t *testing.T, body []byte) {
	t.Helper()
	var fields map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(bytes.TrimPrefix(body, bom), &fields))
	var echo string
	if json.Unmarshal(fields["client_id"], &echo) == nil && echo != "" {
		require.NoError(t, confirmClientID(body, ClientID(echo)))
		err := confirmClientID(body, ClientID(echo+"0"))
		require.Error(t, err)
		require.Equal(t, ReasonMalformedAnswer, err.(verdict).reason)
	}
}

func tokenBodyOf(t tokens.Token) string {
	quoted, _ := json.Marshal(t.Token)
	return fmt.Sprintf(`{"access_token":%s,"expires_on":%d}`, quoted, t.ExpiresOn.Unix())
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "0", "1", "26", "-1", "1.5", "+7", "300", "301", "9223372036854775807", "9223372036854775808", "0x10", " 3",
		"soon", "Fri, 14 Jul 2017 02:41:00 GMT", "Fri, 14 Jul 2017 02:39:59 GMT", "Friday, 14-Jul-17 02:41:00 GMT", "Fri Jul 14 02:41:00 2017",
		"Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT"} {
		f.Add(s, "", "")
		f.Add("", s, "7")
		f.Add("26", "0", s)
	}
	f.Fuzz(func(t *testing.T, seconds, ms, xms string) {
		h := http.Header{}
		h.Set("Retry-After", seconds)
		h.Set("Retry-After-Ms", ms)
		h.Set("X-Ms-Retry-After-Ms", xms)
		d := retryAfter(h, july2017)
		require.GreaterOrEqual(t, d, time.Duration(0))
		require.LessOrEqual(t, d, maxRetryAfter)
		for name, unit := range map[string]time.Duration{"Retry-After": time.Second, "Retry-After-Ms": time.Millisecond, "X-Ms-Retry-After-Ms": time.Millisecond} {
			again := http.Header{name: {strconv.FormatInt(int64(d/unit), 10)}}
			require.Equal(t, d.Truncate(unit), retryAfter(again, july2017))
		}
		date := http.Header{"Retry-After": {july2017.Add(d).Format(http.TimeFormat)}}
		require.Equal(t, d.Truncate(time.Second), retryAfter(date, july2017))
	})
}

func nonEmpty(secret string) []string {
	if secret == "" {
		return nil
	}
	return []string{secret}
}

func FuzzReadAnswer(f *testing.F) {
	recorded := answers(f)
	for _, name := range slices.Sorted(maps.Keys(recorded)) {
		f.Add(400, recorded[name], "")
		f.Add(200, recorded[name], secretToken)
	}
	for _, s := range []string{`{"error":"a\nb","error_description":"first\r\nsecond\tthird\u0000"}`, `{"error":{"code":"c","message":"m"},"error_description":"d"}`,
		`{"error_description":"AADSTS500011: nobody. Trace ID: 1 Timestamp: 2"}`, `{"error_description":"a\r\nTrace\nID: 1"}`, `{"error_description":"outside. Current  time: 1"}`, `{"message":"` + strings.Repeat("é", 1000) + `"}`,
		`{"error":1,"message":{}}`, `null`, `{"error":null}`, `{"error":"\u0085\u009b31m","message":"\u2028\u2029"}`} {
		f.Add(500, []byte(s), "AADSTS500011")
		f.Add(204, []byte("\xef\xbb\xbf"+s), "first\r\nsecond")
		f.Add(400, []byte(s), "first second")
	}
	explains := []func(answer) verdict{func(a answer) verdict { return (&entra{}).explain(a, someTenant) }}
	id := ClientID(someGUID)
	for _, explain := range []func(answer) verdict{explainCloudShell, explainServiceFabric,
		func(a answer) verdict { return explainIMDS(a, id) }, func(a answer) verdict { return explainArc(a, id) },
		func(a answer) verdict { return explainAzureML(a, id) }, func(a answer) verdict { return explainAppService(a, "IDENTITY_HEADER", id) }} {
		s := &source{explain: explain}
		managed(s)
		explains = append(explains, s.explain)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte, secret string) {
		resp := respond(&http.Request{}, status, string(body))
		a := readAnswer(resp, nonEmpty(secret)...)
		line := a.String()
		require.NotContains(t, line, "Trace ID:")
		require.NotContains(t, line, "Current time:")
		requireLine(t, line, secret)
		if !json.Valid([]byte(strings.TrimPrefix(string(body), string(bom)))) {
			require.Equal(t, statusLine(status), line, "a body that is not JSON is never quoted")
		}
		if status/100 == 2 && a.description != "" {
			require.NotContains(t, line, ": "+a.description)
		}
		require.Equal(t, a, readAnswer(resp, nonEmpty(secret)...), "the body is read again")
		for _, explain := range explains {
			v := explain(a)
			requireLine(t, v.advice, secret)
			require.NotEmpty(t, v.advice)
		}
	})
}
