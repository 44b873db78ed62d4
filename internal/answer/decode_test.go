package answer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"
)

const (
	notJSON       = "the answer is not the JSON of a token"
	noAccessToken = "the answer has no access_token"
	unsendable    = "the access_token in the answer can't be the value of a header"
	noExpiry      = "the answer has neither a usable expires_on nor a usable expires_in"
	expiredToken  = "the token in the answer has expired already; check the clock of this machine"
)

// decodeErrors are all that Decode may say: constants, so that none can quote an answer.
var decodeErrors = []string{notJSON, noAccessToken, unsendable, noExpiry, expiredToken}

// july2017 lies before each expiry in testdata/answers.
var july2017 = time.Unix(1_500_000_000, 0).UTC()

// secretToken is in every answer, and must be in no error.
const secretToken = "eyJ0b2tlbg.c2VjcmV0.cGF5bG9hZA"

// withToken is the JSON of a token and of the fields given.
func withToken(fields string) string {
	return fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer"%s}`, secretToken, fields)
}

func TestVector10_expiresOnInEveryForm(t *testing.T) {
	for _, row := range []struct {
		name, expiresOn string
		want            time.Time
	}{
		{"IMDS: seconds in a string", `"1740272916"`, time.Unix(1740272916, 0)},
		{"Azure ML: seconds in a number", `1740272916`, time.Unix(1740272916, 0)},
		{"number with an exponent", `1.740272916e9`, time.Unix(1740272916, 0)},
		{"string with an exponent", `"1.740272916E+9"`, time.Unix(1740272916, 0)},
		{"fraction of a second", `1740272916.75`, time.Unix(1740272916, 0)},
		{"fraction in a string", `"1740272916.0"`, time.Unix(1740272916, 0)},
		{"blanks around", `" 1740272916 "`, time.Unix(1740272916, 0)},
		{"App Service 2017 on Linux", `"02/23/2025 01:08:36 +00:00"`, time.Unix(1740272916, 0)},
		{"App Service 2017 on Windows", `"2/23/2025 1:08:36 AM +00:00"`, time.Unix(1740272916, 0)},
		{"AM in lower case", `"2/23/2025 1:08:36 am +00:00"`, time.Unix(1740272916, 0)},
		{"slashes without a zone", `"02/23/2025 01:08:36"`, time.Unix(1740272916, 0)},
		{"slashes with Z", `"02/23/2025 01:08:36Z"`, time.Unix(1740272916, 0)},
		{"slashes with another zone", `"02/22/2025 19:38:36 -05:30"`, time.Unix(1740272916, 0)},
		{"RFC 3339", `"2025-02-23T01:08:36Z"`, time.Unix(1740272916, 0)},
		{"RFC 3339 with a zone", `"2025-02-23T03:08:36+02:00"`, time.Unix(1740272916, 0)},
		{"RFC 3339 with a fraction", `"2025-02-23T01:08:36.5000000Z"`, time.Unix(1740272916, 500_000_000)},
		{"ISO without a zone", `"2025-02-23T01:08:36"`, time.Unix(1740272916, 0)},
		{"ISO with a blank", `"2025-02-23 01:08:36"`, time.Unix(1740272916, 0)},
		{"ISO with a blank and Z", `"2025-02-23 01:08:36Z"`, time.Unix(1740272916, 0)},
		{"ISO with blanks and a zone", `"2025-02-23 01:08:36 +00:00"`, time.Unix(1740272916, 0)},
		{"midnight as 12 AM", `"2/23/2025 12:08:36 AM +00:00"`, time.Date(2025, 2, 23, 0, 8, 36, 0, time.UTC)},
		{"noon as 12 PM", `"2/23/2025 12:08:36 PM +00:00"`, time.Date(2025, 2, 23, 12, 8, 36, 0, time.UTC)},
		{"afternoon", `"2/23/2025 1:08:36 PM +00:00"`, time.Date(2025, 2, 23, 13, 8, 36, 0, time.UTC)},
		{"24 hours with PM", `"02/23/2025 13:08:36 PM +00:00"`, time.Date(2025, 2, 23, 13, 8, 36, 0, time.UTC)},
		{"App Service 2017, old documentation", `"09/14/2017 00:00:00 PM +00:00"`, time.Date(2017, 9, 14, 0, 0, 0, 0, time.UTC)},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, _, err := Decode([]byte(withToken(`,"expires_on":`+row.expiresOn)), "", july2017, july2017)
			require.NoError(t, err)
			require.Equal(t, azcore.AccessToken{Token: secretToken, ExpiresOn: row.want.UTC()}, got)
		})
	}
}

// The clock reads one second past the moment of sending.
func TestDecode_expiriesAndRefresh(t *testing.T) {
	now := time.Unix(1_700_000_000, 0).UTC()
	sent := now.Add(-time.Second)
	const in2h, in1h = `,"expires_on":"1700007200"`, `,"expires_in":"3600"`
	onlyOn := now.Add(2 * time.Hour)
	for _, row := range []struct {
		name, fields string
		want         time.Time
		refresh      time.Time
	}{
		{name: "expires_in counts from the sending", fields: in1h, want: sent.Add(time.Hour)},
		{name: "expires_in is a number", fields: `,"expires_in":3600`, want: sent.Add(time.Hour)},
		{name: "expires_in has a fraction", fields: `,"expires_in":3600.9`, want: sent.Add(time.Hour)},
		{name: "expires_in is the earlier", fields: in2h + in1h, want: sent.Add(time.Hour)},
		{name: "expires_on is the earlier", fields: in2h + `,"expires_in":86400`, want: onlyOn},
		{name: "vector 11: expires_in is empty", fields: in2h + `,"expires_in":""`, want: onlyOn},
		{name: "expires_in is null", fields: in2h + `,"expires_in":null`, want: onlyOn},
		{name: "expires_in is an object", fields: in2h + `,"expires_in":{"a":1}`, want: onlyOn},
		{name: "expires_in is an array", fields: in2h + `,"expires_in":["3600"]`, want: onlyOn},
		{name: "expires_in is a boolean", fields: in2h + `,"expires_in":true`, want: onlyOn},
		{name: "expires_in is zero", fields: in2h + `,"expires_in":0`, want: onlyOn},
		{name: "expires_in is negative", fields: in2h + `,"expires_in":"-3600"`, want: onlyOn},
		{name: "expires_in is huge", fields: in2h + `,"expires_in":1e300`, want: onlyOn},
		{name: "expires_in overflows a duration", fields: in2h + `,"expires_in":9223372037`, want: onlyOn},
		{name: "expires_in overflows a float", fields: in2h + `,"expires_in":1e999`, want: onlyOn},
		{name: "expires_in is no number", fields: in2h + `,"expires_in":"NaN"`, want: onlyOn},
		{name: "expires_in is infinite", fields: in2h + `,"expires_in":"Inf"`, want: onlyOn},
		{name: "expires_on is empty", fields: in1h + `,"expires_on":""`, want: sent.Add(time.Hour)},
		{name: "expires_on is null", fields: in1h + `,"expires_on":null`, want: sent.Add(time.Hour)},
		{name: "expires_on is an object", fields: in1h + `,"expires_on":{}`, want: sent.Add(time.Hour)},
		{name: "expires_on is negative", fields: in1h + `,"expires_on":-1`, want: sent.Add(time.Hour)},
		{name: "expires_on is in milliseconds", fields: in1h + `,"expires_on":1700007200000`, want: sent.Add(time.Hour)},
		{name: "expires_on is no date", fields: in1h + `,"expires_on":"tomorrow"`, want: sent.Add(time.Hour)},
		{name: "expires_on is a date that doesn't exist", fields: in1h + `,"expires_on":"13/45/2099 00:00:00"`, want: sent.Add(time.Hour)},
		{name: "both with an error", fields: in2h + `,"error":"e","error_description":"d"`, want: onlyOn},
		{name: "unknown fields", fields: in2h + `,"refresh_token":"","not_before":"0","ext_expires_in":""`, want: onlyOn},

		{name: "refresh_in counts from the sending", fields: in2h + `,"refresh_in":1800`, want: onlyOn, refresh: sent.Add(30 * time.Minute)},
		{name: "refresh_in is a string", fields: in2h + `,"refresh_in":"1800"`, want: onlyOn, refresh: sent.Add(30 * time.Minute)},
		{name: "refresh_in just before the expiry", fields: in2h + `,"refresh_in":7200`, want: onlyOn, refresh: onlyOn.Add(-time.Second)},
		{name: "refresh_in at the expiry", fields: in2h + `,"refresh_in":7201`, want: onlyOn},
		{name: "refresh_in after the expiry", fields: in2h + `,"refresh_in":86400`, want: onlyOn},
		{name: "refresh_in is empty", fields: in2h + `,"refresh_in":""`, want: onlyOn},
		{name: "refresh_in is null", fields: in2h + `,"refresh_in":null`, want: onlyOn},
		{name: "refresh_in is zero", fields: in2h + `,"refresh_in":0`, want: onlyOn},
		{name: "refresh_in is negative", fields: in2h + `,"refresh_in":-1`, want: onlyOn},
		{name: "refresh_in is an object", fields: in2h + `,"refresh_in":{}`, want: onlyOn},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, _, err := Decode([]byte(withToken(row.fields)), "", sent, now)
			require.NoError(t, err)
			require.Equal(t, azcore.AccessToken{Token: secretToken, ExpiresOn: row.want, RefreshOn: row.refresh}, got)
		})
	}
}

func TestDecode_refuses(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	const on = `,"expires_on":"1700007200"`
	for _, row := range []struct{ name, body, want string }{
		{"nothing", ``, notJSON},
		{"text", secretToken, notJSON},
		{"HTML", `<html><body>` + secretToken + `</body></html>`, notJSON},
		{"an array", `[` + withToken(on) + `]`, notJSON},
		{"a string", `"` + secretToken + `"`, notJSON},
		{"half an answer", withToken(on)[:60], notJSON},
		{"two answers", withToken(on) + withToken(on), notJSON},
		{"only a BOM", "\xef\xbb\xbf", notJSON},
		{"two BOMs", "\xef\xbb\xbf\xef\xbb\xbf" + withToken(on), notJSON},
		{"a token that is a number", `{"access_token":12345678901234567890` + on + `}`, notJSON},
		{"a token that is an object", `{"access_token":{"t":"` + secretToken + `"}` + on + `}`, notJSON},
		{"null", `null`, noAccessToken},
		{"an empty object", `{}`, noAccessToken},
		{"vector 9: no token", `{"expires_in":"3599"}`, noAccessToken},
		{"a token that is null", `{"access_token":null` + on + `}`, noAccessToken},
		{"an empty token", `{"access_token":""` + on + `}`, noAccessToken},
		{"a blank token", `{"access_token":" \t\n"` + on + `}`, noAccessToken},
		{"a token of two lines", `{"access_token":"a\nb"` + on + `}`, unsendable},
		{"a token in another script", `{"access_token":"tökén"` + on + `}`, unsendable},
		{"a token behind a blank", `{"access_token":" a"` + on + `}`, unsendable},
		{"an error", `{"error":"invalid_request","error_description":"` + secretToken + `"}`, noAccessToken},
		{"no expiry", withToken(``), noExpiry},
		{"no usable expiry", withToken(`,"expires_on":"","expires_in":null`), noExpiry},
		{"an expiry that quotes the token", withToken(`,"expires_on":"` + secretToken + `"`), noExpiry},
		{"a lifetime of zero", withToken(`,"expires_in":0`), noExpiry},
		{"a lifetime below zero", withToken(`,"expires_in":-5`), noExpiry},
		{"a lifetime of centuries", withToken(`,"expires_in":"99999999999"`), noExpiry},
		{"an expiry beyond the calendar", withToken(`,"expires_on":253402300800`), noExpiry},
		{"an expiry beyond integers", withToken(`,"expires_on":99999999999999999999999999`), noExpiry},
		{"an expiry in the past", withToken(`,"expires_on":1699999999`), expiredToken},
		{"an expiry now", withToken(`,"expires_on":1700000000`), expiredToken},
		{"a date in the past", withToken(`,"expires_on":"09/14/2017 00:00:00 PM +00:00"`), expiredToken},
		{"the earlier expiry in the past", withToken(`,"expires_on":1699999999,"expires_in":3600`), expiredToken},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, _, err := Decode([]byte(row.body), "", now, now)
			require.EqualError(t, err, row.want)
			require.Zero(t, got)
			require.Contains(t, decodeErrors, row.want)
		})
	}
}

func TestDecode_aLifetimeSpentOnTheWayHasExpired(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	_, _, err := Decode([]byte(withToken(`,"expires_in":60`)), "", now.Add(-time.Minute), now)
	require.EqualError(t, err, expiredToken)
	_, _, err = Decode([]byte(withToken(`,"expires_in":60`)), "", now.Add(-time.Minute+time.Nanosecond), now)
	require.NoError(t, err)
}

func TestDecode_skipsOneBOM(t *testing.T) {
	got, _, err := Decode([]byte("\xef\xbb\xbf"+withToken(`,"expires_on":1740272916`)), "", july2017, july2017)
	require.NoError(t, err)
	require.Equal(t, secretToken, got.Token)
}

func TestDecode_expiresByTheWallClock(t *testing.T) {
	sent := time.Now() // with a monotonic reading, which stands still while a machine sleeps
	got, _, err := Decode([]byte(withToken(`,"expires_in":3600,"refresh_in":60`)), "", sent, sent)
	require.NoError(t, err)
	require.Equal(t, sent.Add(time.Hour).Round(0).UTC(), got.ExpiresOn)
	require.Equal(t, sent.Add(time.Minute).Round(0).UTC(), got.RefreshOn)
}

func TestDecode_namesTheIdentityByAGUID(t *testing.T) {
	const id = "9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d816"
	for _, row := range []struct{ name, clientID, want string }{
		{"a GUID", `"` + id + `"`, id},
		{"in upper case", `"` + strings.ToUpper(id) + `"`, strings.ToUpper(id)},
		{"with blanks around", `" ` + id + ` "`, id},
		{"empty", `""`, ""},
		{"null", `null`, ""},
		{"a number", `1`, ""},
		{"an object", `{"id":"` + id + `"}`, ""},
		{"what the endpoint was sent, perhaps", `"` + secretToken + `"`, ""},
		{"two", `"` + id + `,` + id + `"`, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			body := withToken(`,"expires_in":60,"client_id":` + row.clientID)
			_, clientID, err := Decode([]byte(body), "", july2017, july2017)
			require.NoError(t, err)
			require.Equal(t, row.want, clientID)
			_, clientID, err = Decode([]byte(body), "", july2017, july2017.Add(time.Minute))
			require.EqualError(t, err, expiredToken)
			require.Empty(t, clientID)
		})
	}
}

func TestIsToken_whatAHeaderMayHave(t *testing.T) {
	for _, row := range []struct {
		name, in string
		want     bool
	}{
		{"a JWT", secretToken, true},
		{"the first sign", "!", true},
		{"the last sign", "~", true},
		{"nothing", "", false},
		{"a blank", "a b", false},
		{"a line break", "a\n", false},
		{"DEL", "a\x7f", false},
		{"another script", "é", false},
		{"a byte that is no UTF-8", "a\xff", false},
	} {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.want, IsToken(row.in)) })
	}
}

func TestExpiresOn_isNoDate(t *testing.T) {
	for _, row := range []struct{ name, in string }{
		{"nothing", ``},
		{"a word", `"tomorrow"`},
		{"a time alone", `"01:08:36"`},
		{"a date alone", `"2025-02-23"`},
		{"the 30th of February", `"2025-02-30 01:08:36"`},
		{"hour 25", `"2025-02-23 25:08:36"`},
		{"more than 40 bytes", `"2025-02-23 01:08:36.000000000000000000000"`},
		{"after the year 9999, as a number", `253402300800`},
		{"after the year 9999, by its zone", `"9999-12-31T23:59:59-14:00"`},
		{"half a second", `0.5`},
		{"a negative number", `-1`},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, ok := ExpiresOn([]byte(row.in))
			require.False(t, ok)
		})
	}
	_, ok := ExpiresOn([]byte(`"2025-02-23 01:08:36.00000000000000000000"`))
	require.True(t, ok, "40 bytes")
	last, ok := ExpiresOn([]byte(`253402300799`))
	require.True(t, ok)
	require.Equal(t, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), last)
}

func TestVector1_recordedAnswersOfEachSource(t *testing.T) {
	const id = "9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d816"
	recorded := map[string]struct {
		at, expires, refresh int64
		clientID             string
	}{
		"appservice-container-apps.json": {1586898335, 1586984735, 0, id},
		"appservice-functions.json":      {1586898335, 1586984735, 0, strings.ToUpper(id)},
		"appservice-2017-docs.json":      {1505260800, 1505347200, 0, ""},
		"appservice-2017-linux.json":     {1560901321, 1560987721, 0, ""},
		"appservice-2017-windows.json":   {1579065852, 1579152252, 0, ""},
		"arc.json":                       {1740186826, 1740273225, 0, id},
		"azureml.json":                   {1697733278, 1697818980, 0, ""},
		"cloudshell.json":                {1740186826, 1740190725, 0, ""},
		"entra.json":                     {1740186826, 1740190425, 1740188626, ""},
		"imds-system.json":               {1740186826, 1740272916, 0, id},
		"imds-user.json":                 {1740186826, 1740272916, 0, id},
		"podidentity-sidecar.json":       {1740186826, 1740273225, 0, ""},
		"servicefabric.json":             {1565158211, 1565244611, 0, ""},
	}
	for name, body := range answers(t) {
		row, ok := recorded[name]
		at := time.Unix(row.at, 0).UTC()
		got, clientID, err := Decode(body, "", at, at)
		require.Equal(t, !ok, strings.HasPrefix(name, "malformed-"), name)
		if !ok {
			require.Error(t, err, name)
			continue
		}
		require.NoError(t, err, name)
		want := azcore.AccessToken{Token: secretToken, ExpiresOn: time.Unix(row.expires, 0).UTC()}
		if row.refresh != 0 {
			want.RefreshOn = time.Unix(row.refresh, 0).UTC()
		}
		require.Equal(t, want, got, name)
		require.Equal(t, row.clientID, clientID, name)
		delete(recorded, name)
	}
	require.Empty(t, recorded, "recordings that are not there")
}

// answers reads testdata/answers, by file name.
func answers(tb testing.TB) map[string][]byte {
	tb.Helper()
	files, err := filepath.Glob("../../testdata/answers/*.json")
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
