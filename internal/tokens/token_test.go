package tokens

import (
	"cmp"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/clocktest"
)

// arrived returns a token that arrives now and is valid for life, and is due after wait.
func arrived(now time.Time, life, wait time.Duration) *Token {
	t := Token{AccessToken: azcore.AccessToken{Token: "t", ExpiresOn: now.Add(life)}}.Planned(now, 0)
	t.wait(now, wait)
	return t
}

// requireState checks that the methods say the same of a token.
func requireState(t *testing.T, want Freshness, token *Token, now time.Time, name string) {
	t.Helper()
	require.Equal(t, want, token.Freshness(now), name)
	require.Equal(t, want == Fresh, token.IsFresh(now), name)
	require.Equal(t, want == Expired, token.Left(now) == 0, name)
}

// Each row's token arrives an hour before its expiry.
func TestFreshness_toTheNanosecond(t *testing.T) {
	const early, late, paused = 5 * time.Minute, time.Minute, 0
	for _, row := range []struct {
		name      string
		due, left time.Duration // before the expiry
		want      Freshness
	}{
		{"long before it is due", early, time.Hour, Fresh},
		{"a nanosecond before it is due", early, 5*time.Minute + 1, Fresh},
		{"when it is due", early, 5 * time.Minute, Due},
		{"a nanosecond later", early, 5*time.Minute - 1, Due},
		{"two minutes left", early, 2 * time.Minute, Due},
		{"a nanosecond less than two minutes left", early, 2*time.Minute - 1, Urgent},
		{"a nanosecond left", early, 1, Urgent},
		{"at its expiry", early, 0, Expired},
		{"a nanosecond after its expiry", early, -1, Expired},
		{"pausing with under two minutes left", late, time.Minute + 1, Fresh},
		{"at the end of that pause", late, time.Minute, Urgent},
		{"pausing until its expiry, a nanosecond left", paused, 1, Fresh},
		{"pausing until its expiry, at its expiry", paused, 0, Expired},
		{"pausing until its expiry, later", paused, -time.Hour, Expired},
	} {
		for _, now := range []time.Time{time.Unix(1_700_000_000, 0), time.Now()} {
			token := arrived(now, time.Hour, time.Hour-row.due)
			requireState(t, row.want, token, now.Add(time.Hour-row.left), row.name)
		}
	}
	requireState(t, Expired, nil, time.Now(), "no token")
	requireState(t, Expired, &Token{}, time.Now(), "the zero token")
	unplanned := Token{AccessToken: azcore.AccessToken{ExpiresOn: time.Now().Add(time.Hour)}}
	requireState(t, Expired, &unplanned, time.Now(), "not planned")
}

// Each row's token arrives an hour before its expiry and is due after 55 minutes.
func TestFreshness_byTheClockThatIsFirst(t *testing.T) {
	const due, urgent = 55 * time.Minute, 58*time.Minute + 1
	for _, row := range []struct {
		name       string
		wall, mono time.Duration // since the arrival
		want       Freshness
		left       time.Duration
	}{
		{"both a nanosecond before it is due", due - 1, due - 1, Fresh, 5*time.Minute + 1},
		{"due by the wall clock, the machine slept", due, 1, Due, 5 * time.Minute},
		{"due by the monotonic clock, the other was set back", due - time.Hour, due, Due, 5 * time.Minute},
		{"due by the wall clock, which was set ahead", due, time.Minute, Due, 5 * time.Minute},
		{"urgent by the wall clock", urgent, 0, Urgent, 2*time.Minute - 1},
		{"urgent by the monotonic clock", 0, urgent, Urgent, 2*time.Minute - 1},
		{"a nanosecond left by the wall clock", time.Hour - 1, 0, Urgent, 1},
		{"a nanosecond left by the monotonic clock", 0, time.Hour - 1, Urgent, 1},
		{"expired by the wall clock", time.Hour, 0, Expired, 0},
		{"expired by the monotonic clock", 0, time.Hour, Expired, 0},
		{"expired by the monotonic clock, the other was set back by an hour", 0, time.Hour, Expired, 0},
		{"expired by the monotonic clock, the other was set back by years", -1e6 * time.Minute, time.Hour, Expired, 0},
		{"expired by the wall clock after days of sleep", 72 * time.Hour, 1, Expired, 0},
		{"fresh after the wall clock was set back", -time.Hour, time.Minute, Fresh, 59 * time.Minute},
	} {
		now := time.Now()
		token := arrived(now, time.Hour, due)
		at := clocktest.Later(now, row.wall, row.mono)
		requireState(t, row.want, token, at, row.name)
		require.Equal(t, row.left, token.Left(at), row.name)
	}
}

// A token whose refresh fails after the wall clock was set back is handed out no longer than before.
func TestPaused_keepsTheExpiryOfBothClocks(t *testing.T) {
	for _, row := range []struct {
		name       string
		wall, mono time.Duration // from the arrival to the refresh in vain
		pause      time.Duration
	}{
		{"the wall clock was set back", 0, 56 * time.Minute, 30 * time.Second},
		{"the wall clock was set back, and little is left", -time.Hour, time.Hour - time.Second, time.Second},
		{"the machine slept", 56 * time.Minute, 0, 30 * time.Second},
		{"the machine slept, and little is left", time.Hour - time.Second, 0, time.Second},
		{"a tenth of what is left by the clock that is ahead", 10 * time.Minute, 20 * time.Minute, 4 * time.Minute},
	} {
		now := time.Now()
		at := clocktest.Later(now, row.wall, row.mono)
		token := arrived(now, time.Hour, time.Minute).Paused(at)
		requireState(t, Fresh, token, at.Add(row.pause-1), row.name)
		require.False(t, token.IsFresh(at.Add(row.pause)), row.name)
		require.False(t, token.IsFresh(clocktest.Later(at, row.pause, 0)), row.name)
		require.False(t, token.IsFresh(clocktest.Later(at, 0, row.pause)), row.name)
		require.Equal(t, now.Round(0).UTC().Add(row.wall+row.pause), token.Due(), row.name)
		requireState(t, Expired, token, clocktest.Later(now, row.wall, time.Hour), row.name)
		requireState(t, Expired, token, clocktest.Later(now, time.Hour, row.mono), row.name)
	}
}

func TestPlanned_timesOfRefresh(t *testing.T) {
	const sec, mins, hour = time.Second, time.Minute, time.Hour
	const day, year = 24 * hour, 365 * 24 * hour
	for _, row := range []struct {
		name                    string
		life, before, refreshIn time.Duration
		want                    time.Duration
	}{
		{name: "five minutes before the expiry", life: hour, want: 55 * mins},
		{name: "RefreshBefore", life: hour, before: 20 * mins, want: 40 * mins},
		{name: "refresh_in is earlier", life: hour, refreshIn: 30 * mins, want: 30 * mins},
		{name: "refresh_in is earlier by a nanosecond", life: hour, refreshIn: 55*mins - 1, want: 55*mins - 1},
		{name: "refresh_in is later", life: hour, refreshIn: 57 * mins, want: 55 * mins},
		{name: "RefreshBefore is earlier than refresh_in", life: hour, before: 40 * mins, refreshIn: 30 * mins,
			want: 20 * mins},

		{name: "a nanosecond after its arrival", life: 5*mins + 1, want: 30 * sec},
		{name: "half a minute after its arrival, less a nanosecond", life: 5*mins + 30*sec - 1, want: 30 * sec},
		{name: "half a minute after its arrival", life: 5*mins + 30*sec, want: 30 * sec},
		{name: "half a minute after its arrival and a nanosecond", life: 5*mins + 30*sec + 1, want: 30*sec + 1},
		{name: "refresh_in is a nanosecond", life: hour, refreshIn: 1, want: 30 * sec},
		{name: "refresh_in is a second", life: hour, refreshIn: sec, want: 30 * sec},
		{name: "refresh_in is a second, and seconds are left", life: 20 * sec, before: 1, refreshIn: sec,
			want: 20 * sec},
		{name: "refresh_in is half a minute and a nanosecond", life: hour, refreshIn: 30*sec + 1, want: 30*sec + 1},

		{name: "a day before it is due", life: day + 5*mins, want: day},
		{name: "a day and a nanosecond before it is due", life: day + 5*mins + 1, want: day},
		{name: "a day", life: 24 * hour, want: day - 5*mins},
		{name: "refresh_in is two days", life: 10 * 24 * hour, refreshIn: 48 * hour, want: day},
		{name: "a century", life: 100 * year, want: day},
		{name: "a century, and refresh_in", life: 100 * year, refreshIn: hour, want: hour},

		{name: "due on arrival, exactly", life: 5 * mins, want: 30 * sec},
		{name: "due on arrival, with a minute left", life: mins, want: 30 * sec},
		{name: "due on arrival, with seconds left", life: 20 * sec, want: 20 * sec},
		{name: "due on arrival by RefreshBefore", life: 20 * mins, before: hour, want: 2 * mins},
		{name: "due on arrival by RefreshBefore, exactly", life: 20 * mins, before: 20 * mins, want: 2 * mins},
		{name: "due on arrival by refresh_in", life: hour, refreshIn: -sec, want: 6 * mins},
		{name: "due on arrival, a century left", life: 100 * year, refreshIn: -sec, want: 144 * mins},
		{name: "expired on its way", life: -sec, want: -sec},
	} {
		for _, now := range []time.Time{time.Unix(1_700_000_000, 0), time.Now()} {
			decoded := Token{AccessToken: azcore.AccessToken{Token: "t", ExpiresOn: now.Add(row.life)}}
			if row.refreshIn != 0 {
				decoded.RefreshOn = now.Add(row.refreshIn)
			}
			before := decoded
			got := decoded.Planned(now, cmp.Or(row.before, DefaultRefreshBefore))
			wall := now.Round(0).UTC()
			want := azcore.AccessToken{Token: "t", ExpiresOn: wall.Add(row.life), RefreshOn: wall.Add(row.want)}
			require.Equal(t, want, got.AccessToken, row.name)
			require.Equal(t, got.RefreshOn, got.Due(), row.name)
			require.Equal(t, before, decoded, row.name)
			require.True(t, got.IsFresh(now.Add(row.want-1)), row.name)
			require.False(t, got.IsFresh(now.Add(row.want)), row.name)
		}
	}
}

// expires_on 253402300799 is the last second that encoding/json can write. A duration can't reach it.
func TestPlanned_theYear9999IsRefreshedWithinADay(t *testing.T) {
	last := time.Unix(253402300799, 0).UTC()
	for _, now := range []time.Time{time.Unix(1_700_000_000, 0), time.Now()} {
		token := Token{AccessToken: azcore.AccessToken{ExpiresOn: last}}.Planned(now, DefaultRefreshBefore)
		require.Equal(t, now.Round(0).UTC().Add(MaxAge), token.RefreshOn)
		require.Equal(t, last, token.ExpiresOn)
		requireState(t, Fresh, token, now.Add(MaxAge-1), "within a day")
		requireState(t, Due, token, now.Add(MaxAge), "after a day")
		again := token.Paused(now.Add(MaxAge))
		require.Equal(t, now.Round(0).UTC().Add(MaxAge+MaxAge/10), again.Due())
		require.Equal(t, token.RefreshOn, again.RefreshOn)
	}
}

func TestPaused_forThirtySecondsOrATenthOfTheTimeLeft(t *testing.T) {
	now := time.Unix(1_700_000_000, 0).UTC()
	for _, row := range []struct {
		name       string
		left, want time.Duration
	}{
		{"ten days", 240 * time.Hour, 144 * time.Minute},
		{"a day", 24 * time.Hour, 144 * time.Minute},
		{"a day less ten nanoseconds", 24*time.Hour - 10, 144*time.Minute - 1},
		{"an hour", time.Hour, 6 * time.Minute},
		{"a tenth just longer", 5*time.Minute + 10, 30*time.Second + 1},
		{"a tenth of thirty seconds", 5 * time.Minute, 30 * time.Second},
		{"two minutes", 2 * time.Minute, 30 * time.Second},
		{"thirty seconds", 30 * time.Second, 30 * time.Second},
		{"a nanosecond less", 30*time.Second - 1, 30*time.Second - 1},
		{"a nanosecond", 1, 1},
		{"none", 0, 0},
		{"expired", -time.Second, -time.Second},
	} {
		published := arrived(now, row.left, 0)
		require.Equal(t, now.Add(row.want), published.Paused(now).Due(), row.name)
		require.Equal(t, now.Add(min(0, row.left)), published.Due(), row.name)
	}
}

// The hit's test: a few nanoseconds and no allocation.
func BenchmarkIsFresh(b *testing.B) {
	now := time.Now()
	token := arrived(now, time.Hour, 55*time.Minute)
	b.ReportAllocs()
	for b.Loop() {
		if !token.IsFresh(now) {
			b.Fatal("it is fresh")
		}
	}
}
