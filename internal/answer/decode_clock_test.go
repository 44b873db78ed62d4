package answer

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/clocktest"
)

// The token of each row is valid for an hour from the Date on, by the host's clock. All times count from the Date.
func TestDecode_expiresOnIsReadByTheHostsClock(t *testing.T) {
	date := time.Unix(1_700_000_000, 0).UTC()
	const sec, mins, hour = time.Second, time.Minute, time.Hour
	const on, then = `,"expires_on":1700003600`, "Tue, 14 Nov 2023 22:13:20 GMT"
	for _, row := range []struct {
		name, date, fields string
		sent, took         time.Duration
		want, refresh      time.Duration // want 0: it has expired
	}{
		{name: "the same clock", date: then, fields: on, took: 2 * sec, want: hour},
		{name: "Date a second before the sending, as its resolution allows", date: then, fields: on, sent: sec,
			want: hour},
		{name: "a nanosecond earlier", date: then, fields: on, sent: sec + 1, want: hour + 1},
		{name: "Date a second after the arrival", date: then, fields: on, sent: -3 * sec, took: 2 * sec, want: hour},
		{name: "a nanosecond later", date: then, fields: on, sent: -3*sec - 1, took: 2 * sec, want: hour - 4*sec - 1},
		{name: "our clock is 70 minutes ahead", date: then, fields: on, sent: 70 * mins, took: sec,
			want: 130*mins - sec},
		{name: "in the form of RFC 850", date: "Tuesday, 14-Nov-23 22:13:20 GMT", fields: on, sent: 70 * mins,
			want: 130*mins - sec},
		{name: "in the form of C", date: "Tue Nov 14 22:13:20 2023", fields: on, sent: 70 * mins,
			want: 130*mins - sec},
		{name: "expires_on is a date", date: then, fields: `,"expires_on":"11/14/2023 23:13:20 +00:00"`,
			sent: 70 * mins, want: 130*mins - sec},
		{name: "our clock is 70 minutes behind", date: then, fields: on, sent: -70 * mins, want: -10*mins - sec},
		{name: "our clock is years behind", date: then, fields: on, sent: -1e6 * mins, want: -1e6*mins + hour - sec},
		{name: "no Date, 70 minutes ahead", fields: on, sent: 70 * mins},
		{name: "no Date, 70 minutes behind", fields: on, sent: -70 * mins, want: hour},
		{name: "Date is a number", date: "1700000000", fields: on, sent: -70 * mins, want: hour},
		{name: "Date has another zone", date: "Tue, 14 Nov 2023 22:13:20 CET", fields: on, sent: -70 * mins,
			want: hour},
		{name: "Date is no date", date: "yesterday", fields: on, sent: 70 * mins},
		{name: "ten years after Date", date: "Sat, 16 Nov 2013 23:13:19 GMT", fields: on, want: 87600 * hour},
		{name: "more than ten years after Date", date: "Sat, 16 Nov 2013 23:13:18 GMT", fields: on, want: hour},
		{name: "Date is that of a clock without a battery", date: "Thu, 01 Jan 1970 00:00:07 GMT", fields: on,
			want: hour},
		{name: "Date is the first of all", date: "Mon, 01 Jan 0001 00:00:00 GMT", fields: on, want: hour},
		{name: "expired already by the host's clock", date: "Tue, 14 Nov 2023 23:13:19 GMT", fields: on},
		{name: "the last of all dates, and expires_on the first",
			date: "Fri, 31 Dec 9999 23:59:59 GMT", fields: `,"expires_on":"0001-01-01 00:00:00"`},
		{name: "spent on the way, but for a nanosecond", date: then, fields: on,
			sent: 70 * mins, took: hour - sec - 1, want: 130*mins - sec},
		{name: "spent on the way", date: then, fields: on, sent: 70 * mins, took: hour - sec},
		{name: "expires_in is the earlier", date: then, fields: on + `,"expires_in":3598`, sent: 70 * mins,
			want: 130*mins - 2*sec},
		{name: "expires_in is the later", date: then, fields: on + `,"expires_in":3600`, sent: 70 * mins,
			want: 130*mins - sec},
		{name: "expires_in alone", date: then, fields: `,"expires_in":3600`, sent: 70 * mins, want: 130 * mins},
		{name: "refresh_in counts from the sending", date: then, fields: on + `,"refresh_in":1800`,
			sent: 70 * mins, took: sec, want: 130*mins - sec, refresh: 100 * mins},
		{name: "refresh_in just before the expiry", date: then, fields: on + `,"refresh_in":3598`, sent: 70 * mins,
			want: 130*mins - sec, refresh: 130*mins - 2*sec},
		{name: "refresh_in at the expiry", date: then, fields: on + `,"refresh_in":3599`, sent: 70 * mins,
			want: 130*mins - sec},
	} {
		t.Run(row.name, func(t *testing.T) {
			sent := date.Add(row.sent)
			got, _, err := Decode([]byte(withToken(row.fields)), row.date, sent, sent.Add(row.took))
			if row.want == 0 {
				require.EqualError(t, err, expiredToken)
				return
			}
			require.NoError(t, err)
			require.Equal(t, date.Add(row.want), got.ExpiresOn)
			if row.refresh != 0 {
				require.Equal(t, date.Add(row.refresh), got.RefreshOn)
			} else {
				require.Zero(t, got.RefreshOn)
			}
		})
	}
}

func TestDecode_theClockChangesOnTheWay(t *testing.T) {
	const sec, hour = time.Second, time.Hour
	sent := time.Now()
	wall := sent.Round(0).UTC()
	const in = `,"expires_in":7200,"refresh_in":3600`
	expiresOn := func(at time.Time) string { return fmt.Sprintf(`,"expires_on":%d`, at.Unix()) }
	for _, row := range []struct {
		name       string
		wall, mono time.Duration // that pass from the sending on
		fields     string
		date       time.Time
		want       time.Time
	}{
		{name: "it doesn't", wall: sec, mono: sec, fields: in, want: wall.Add(2 * hour)},
		{name: "set back by an hour", wall: sec - hour, mono: sec, fields: in, want: wall.Add(hour)},
		{name: "set ahead by an hour", wall: sec + hour, mono: sec, fields: in, want: wall.Add(2 * hour)},
		{name: "the machine sleeps for an hour", wall: hour, mono: 1, fields: in, want: wall.Add(2 * hour)},
		{name: "set back to the host's time", wall: sec - hour, mono: sec, fields: expiresOn(wall),
			date: wall.Add(-hour),
			want: wall.Truncate(sec)},
		{name: "set ahead to the host's time", wall: sec + hour, mono: sec, fields: expiresOn(wall.Add(2 * hour)),
			date: wall.Add(hour), want: wall.Truncate(sec).Add(2 * hour)},
	} {
		date := ""
		if !row.date.IsZero() {
			date = row.date.Format(http.TimeFormat)
		}
		got, _, err := Decode([]byte(withToken(row.fields)), date, sent, clocktest.Later(sent, row.wall, row.mono))
		require.NoError(t, err, row.name)
		require.Equal(t, row.want, got.ExpiresOn, row.name)
		if row.fields == in {
			require.Equal(t, row.want.Add(-time.Hour), got.RefreshOn, row.name)
		}
	}
}
