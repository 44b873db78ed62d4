package answer

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPause_whereAnAnswerAsksForOne(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int
		header []string
		want   time.Duration
		asked  bool
	}{
		{"429", 429, nil, 0, true},
		{"429 with a time", 429, []string{"Retry-After", "7"}, 7 * time.Second, true},
		{"429 with zero", 429, []string{"Retry-After", "0"}, 0, true},
		{"429 with nonsense", 429, []string{"Retry-After", "soon"}, 0, true},
		{"429 with the longest time", 429, []string{"Retry-After", "300"}, 5 * time.Minute, true},
		{"429 with a longer one", 429, []string{"Retry-After", "301"}, 5 * time.Minute, true},
		{"503", 503, nil, 0, false},
		{"503 with a time", 503, []string{"Retry-After", "7"}, 7 * time.Second, true},
		{"503 with zero", 503, []string{"Retry-After", "0"}, 0, false},
		{"503 with the longest time", 503, []string{"Retry-After", "300"}, 5 * time.Minute, true},
		{"503 with a longer one", 503, []string{"Retry-After", "301"}, 5 * time.Minute, true},
		{"500", 500, nil, 0, false},
		{"500 with a time", 500, []string{"Retry-After", "7"}, 7 * time.Second, true},
		{"500 with a part of a second", 500, []string{"Retry-After-Ms", "1"}, time.Millisecond, true},
		{"500 with the longest time", 500, []string{"Retry-After", "120"}, 2 * time.Minute, true},
		{"500 with a longer one", 500, []string{"Retry-After", "121"}, 2 * time.Minute, true},
		{"504 with a longer one", 504, []string{"Retry-After", "121"}, 2 * time.Minute, true},
		{"599 with a longer one", 599, []string{"Retry-After", "121"}, 2 * time.Minute, true},
		{"499", 499, []string{"Retry-After", "7"}, 0, false},
		{"408", 408, []string{"Retry-After", "7"}, 0, false},
		{"428", 428, []string{"Retry-After", "7"}, 0, false},
		{"430", 430, []string{"Retry-After", "7"}, 0, false},
		{"200", 200, []string{"Retry-After", "7"}, 0, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			resp := respond(row.status, "", row.header...)
			pause, asked := Pause(resp)
			require.Equal(t, row.want, pause)
			require.Equal(t, row.asked, asked)
			require.Equal(t, row.asked, AsksForPause(resp))
		})
	}
}

func TestPause_untilADate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		date := time.Now().UTC().Add(90 * time.Second).Format(http.TimeFormat)
		pause, asked := Pause(respond(500, "", "Retry-After", date))
		require.Equal(t, 90*time.Second, pause)
		require.True(t, asked)
		time.Sleep(90 * time.Second)
		pause, asked = Pause(respond(500, "", "Retry-After", date))
		require.Zero(t, pause)
		require.False(t, asked, "its time is over")
	})
}

// july2017 is 2:40 on the 14th.
func TestRetryAfter_inTheOrderOfAzcore(t *testing.T) {
	const inAMinute = "Fri, 14 Jul 2017 02:41:00 GMT"
	for _, row := range []struct {
		name   string
		header []string
		want   time.Duration
	}{
		{"none", nil, 0},
		{"seconds", []string{"Retry-After", "7"}, 7 * time.Second},
		{"milliseconds", []string{"Retry-After-Ms", "7"}, 7 * time.Millisecond},
		{"milliseconds of x-ms", []string{"X-Ms-Retry-After-Ms", "7"}, 7 * time.Millisecond},
		{"all", []string{"Retry-After", "1", "X-Ms-Retry-After-Ms", "2", "Retry-After-Ms", "3"}, 3 * time.Millisecond},
		{"the last two", []string{"Retry-After", "1", "X-Ms-Retry-After-Ms", "2"}, 2 * time.Millisecond},
		{"zero goes on to the next", []string{"Retry-After-Ms", "0", "X-Ms-Retry-After-Ms", "2"}, 2 * time.Millisecond},
		{"nonsense goes on to the next", []string{"Retry-After-Ms", "x", "Retry-After", "1"}, time.Second},
		{"five minutes", []string{"Retry-After", "300"}, 5 * time.Minute},
		{"more", []string{"Retry-After", "301"}, 5 * time.Minute},
		{"five minutes in milliseconds", []string{"Retry-After-Ms", "300000"}, 5 * time.Minute},
		{"a millisecond less", []string{"Retry-After-Ms", "299999"}, 5*time.Minute - time.Millisecond},
		{"a millisecond more", []string{"Retry-After-Ms", "300001"}, 5 * time.Minute},
		{"the largest number", []string{"Retry-After", "9223372036854775807"}, 5 * time.Minute},
		{"a larger one", []string{"Retry-After", "9223372036854775808"}, 0},
		{"less than zero", []string{"Retry-After", "-1"}, 0},
		{"a fraction", []string{"Retry-After", "1.5"}, 0},
		{"a blank", []string{"Retry-After", " 1"}, 0},
		{"a date", []string{"Retry-After", inAMinute}, time.Minute},
		{"a date in the form of RFC 850", []string{"Retry-After", "Friday, 14-Jul-17 02:41:00 GMT"}, time.Minute},
		{"a date in the form of C", []string{"Retry-After", "Fri Jul 14 02:41:00 2017"}, time.Minute},
		{"now", []string{"Retry-After", "Fri, 14 Jul 2017 02:40:00 GMT"}, 0},
		{"in a second", []string{"Retry-After", "Fri, 14 Jul 2017 02:40:01 GMT"}, time.Second},
		{"a date in the past", []string{"Retry-After", "Fri, 14 Jul 2017 02:39:59 GMT"}, 0},
		{"a date in five minutes", []string{"Retry-After", "Fri, 14 Jul 2017 02:45:00 GMT"}, 5 * time.Minute},
		{"a later one", []string{"Retry-After", "Fri, 14 Jul 2017 02:45:01 GMT"}, 5 * time.Minute},
		{"the last of all dates", []string{"Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"}, 5 * time.Minute},
		{"a date in milliseconds' place", []string{"Retry-After-Ms", inAMinute}, 0},
		{"a date in that of x-ms", []string{"X-Ms-Retry-After-Ms", inAMinute}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			require.Equal(t, row.want, RetryAfter(respond(429, "", row.header...).Header, july2017))
		})
	}
}
