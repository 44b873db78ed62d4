package answer

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/internal/text"
)

// expiresOnSeeds are forms of expires_on, and things near them.
var expiresOnSeeds = []string{`"1740272916"`, `1740272916`, `"06/19/2019 23:42:01 +00:00"`, `"1/16/2020 5:24:12 AM +00:00"`,
	`"09/14/2017 00:00:00 PM +00:00"`, `"2025-02-23T01:08:36Z"`, `"2025-02-23 01:08:36"`, `"9999-12-31T23:59:59-14:00"`, `253402300799`,
	`"0x7fffffff"`, `"1e10"`, `-1`, `1e999`, `"NaN"`, `1499999999`, `null`, `{}`, `""`, `"T T T"`, `"AM PM"`}

// FuzzDecode: whatever an endpoint answers becomes a token that can be used, or an error that quotes nothing.
func FuzzDecode(f *testing.F) {
	recorded := answers(f)
	for _, name := range slices.Sorted(maps.Keys(recorded)) {
		f.Add(recorded[name], int64(0))
		f.Add(append([]byte("\xef\xbb\xbf"), recorded[name]...), int64(120))
	}
	for _, s := range expiresOnSeeds {
		f.Add([]byte(withToken(`,"expires_on":`+s)), int64(1))
		f.Add([]byte(withToken(`,"expires_in":`+s+`,"refresh_in":`+s)), int64(1))
	}
	f.Fuzz(func(t *testing.T, body []byte, tookSeconds int64) {
		sent := july2017
		now := sent.Add(time.Duration(uint64(tookSeconds)%180) * time.Second)
		got, err := decoded(t, body, "", sent, now)
		if err != nil {
			require.Contains(t, decodeErrors, err.Error())
			require.Zero(t, got)
			return
		}
		requireUsable(t, got, now)
		again, err := decoded(t, []byte(tokenBodyOf(got)), "", now, now)
		require.NoError(t, err)
		require.Equal(t, got.ExpiresOn.Truncate(time.Second), again.ExpiresOn)
		require.True(t, got.Token == again.Token)
		if !got.RefreshOn.IsZero() {
			require.Equal(t, time.UTC, got.RefreshOn.Location())
			require.True(t, got.RefreshOn.After(sent))
			require.True(t, got.RefreshOn.Before(got.ExpiresOn))
		}
		date := sent.Add(time.Duration(tookSeconds>>8%1e6) * time.Second)
		if got, err = decoded(t, body, date.Format(http.TimeFormat), sent, now); err == nil {
			requireUsable(t, got, now)
		}
	})
}

// decoded is Decode without the client ID, which is empty or a GUID.
func decoded(t *testing.T, body []byte, date string, sent, now time.Time) (azcore.AccessToken, error) {
	t.Helper()
	got, clientID, err := Decode(body, date, sent, now)
	require.True(t, clientID == "" || text.IsGUID(clientID))
	return got, err
}

func tokenBodyOf(t azcore.AccessToken) string {
	quoted, _ := json.Marshal(t.Token)
	return fmt.Sprintf(`{"access_token":%s,"expires_on":%d}`, quoted, t.ExpiresOn.Unix())
}

// FuzzRetryAfter: whatever the headers say, the pause is within its bounds, and is the same in each of its spellings.
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
		d := RetryAfter(h, july2017)
		require.GreaterOrEqual(t, d, time.Duration(0))
		require.LessOrEqual(t, d, MaxRetryAfter)
		for name, unit := range map[string]time.Duration{"Retry-After": time.Second, "Retry-After-Ms": time.Millisecond, "X-Ms-Retry-After-Ms": time.Millisecond} {
			again := http.Header{name: {strconv.FormatInt(int64(d/unit), 10)}}
			require.Equal(t, d.Truncate(unit), RetryAfter(again, july2017))
		}
		date := http.Header{"Retry-After": {july2017.Add(d).Format(http.TimeFormat)}}
		require.Equal(t, d.Truncate(time.Second), RetryAfter(date, july2017))
	})
}

func nonEmpty(secret string) []string {
	if secret == "" {
		return nil
	}
	return []string{secret}
}

// FuzzRead: whatever an endpoint says of a failure is quoted in one line, without the secret.
func FuzzRead(f *testing.F) {
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
	f.Fuzz(func(t *testing.T, status int, body []byte, secret string) {
		resp := respond(status, string(body))
		a := Read(resp, nonEmpty(secret)...)
		line := a.String()
		require.NotContains(t, line, "Trace ID:")
		require.NotContains(t, line, "Current time:")
		testkit.RequireLine(t, line, secret)
		if !json.Valid([]byte(string(text.WithoutBOM(body)))) {
			require.Equal(t, StatusLine(status), line, "a body that is not JSON is never quoted")
		}
		if status/100 == 2 && a.Description != "" {
			require.NotContains(t, line, ": "+a.Description)
		}
		require.Equal(t, a, Read(resp, nonEmpty(secret)...), "the body is read again")
	})
}

// requireUsable checks a token that was accepted.
func requireUsable(t *testing.T, got azcore.AccessToken, now time.Time) {
	t.Helper()
	require.NotEmpty(t, got.Token)
	require.False(t, strings.ContainsFunc(got.Token, func(r rune) bool { return r <= ' ' || r > '~' }), "it can't be in a header")
	require.Equal(t, time.UTC, got.ExpiresOn.Location())
	require.True(t, got.ExpiresOn.After(now))
	require.LessOrEqual(t, got.ExpiresOn.Year(), 9999, "encoding/json refuses later years")
}

// respond makes an answer; header is name, value, name, value, …
func respond(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}
