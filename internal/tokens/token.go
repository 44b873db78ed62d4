package tokens

import (
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const (
	// DefaultRefreshBefore is how long before its expiry a token is refreshed, unless a Set says otherwise.
	DefaultRefreshBefore = 5 * time.Minute
	// UrgentBefore is how long before the expiry callers begin to wait for the refresh. Each waits for UrgentWait at
	// most.
	UrgentBefore = 2 * time.Minute
	UrgentWait   = 2 * time.Second
	// LastMoment is how long before the expiry a waiting caller takes the token, because the wait may end late.
	LastMoment = 100 * time.Millisecond
	// MinPause is the shortest time from the arrival of a token, or from a failed refresh, to the next refresh.
	MinPause = 30 * time.Second
	// MaxAge is the longest time from the arrival of a token to its refresh, whatever the answer says.
	MaxAge = 24 * time.Hour
)

// Token is a token with its times. It is immutable once published, so that a hit needs no lock. A Token that Planned
// didn't return is expired.
//
// Two clocks measure its times, and the one that reaches a time first counts. The wall clock may be set back. The
// monotonic clock can't be set, but may stand still while the machine sleeps.
type Token struct {
	// AccessToken has ExpiresOn and RefreshOn by this machine's wall clock, in UTC, without a monotonic reading.
	// RefreshOn is the time of refresh that was planned when the token arrived.
	azcore.AccessToken
	ClientID string    // of its identity, as the answer says; "": unknown
	Asked    time.Time // when the flight that brought it began
	Claims   string    // the challenge that it was requested with
	Flight   int       // the number of the flight that brought it

	due     time.Time // when to refresh, never after expiry; by the monotonic clock if now had a reading of it
	dueWall int64     // due by the wall clock, in Unix nanoseconds; at most MaxAge ahead, so it can't overflow
	expiry  time.Time // ExpiresOn by the monotonic clock if now had a reading of it
}

// Left returns how long the token is still valid. It is 0 for nil and for an expired token.
func (t *Token) Left(now time.Time) time.Duration {
	if t == nil {
		return 0
	}
	return max(0, t.left(now))
}

// left is like Left, but negative after the expiry.
func (t *Token) left(now time.Time) time.Duration {
	return min(t.ExpiresOn.Sub(now), t.expiry.Sub(now))
}

// Freshness says what may be done with a token.
type Freshness int

const (
	Expired Freshness = iota // never returned to a caller
	Fresh                    // returned
	Due                      // returned, and a refresh begins in the background
	Urgent                   // returned after a short wait for the refresh
)

// Freshness is the whole policy of when a token is used and when it is refreshed. A nil token is expired.
func (t *Token) Freshness(now time.Time) Freshness {
	left := t.Left(now)
	switch {
	case left == 0:
		return Expired
	case t.IsFresh(now):
		return Fresh
	case left >= UrgentBefore:
		return Due
	default:
		return Urgent
	}
}

// IsFresh reports whether Freshness is Fresh, with only one comparison for each clock. A nil token is not fresh.
func (t *Token) IsFresh(now time.Time) bool {
	return t != nil && now.Before(t.due) && now.UnixNano() < t.dueWall
}

// Due returns when to refresh the token, by the wall clock: at RefreshOn, or later after a failed refresh.
func (t *Token) Due() time.Time { return time.Unix(0, t.dueWall).UTC() }

// Planned returns a token that arrives at now, with its time of refresh. That is refreshBefore the expiry, or RefreshOn
// if the endpoint asked for an earlier time, but not earlier than MinPause from now and not later than MaxAge. A token
// that is due on arrival gets the pause of Paused. now needs the monotonic reading of time.Now. Without it, only the
// wall clock counts.
func (t Token) Planned(now time.Time, refreshBefore time.Duration) *Token {
	t.ExpiresOn = t.ExpiresOn.Round(0).UTC()
	t.expiry = now.Add(t.ExpiresOn.Sub(now))
	wait := t.ExpiresOn.Add(-refreshBefore).Sub(now)
	if !t.RefreshOn.IsZero() {
		wait = min(wait, t.RefreshOn.Sub(now))
	}
	if wait <= 0 {
		wait = t.pause(now)
	}
	t.wait(now, min(max(wait, MinPause), MaxAge))
	t.RefreshOn = t.Due()
	return &t
}

// Paused returns the token with a later refresh, because the last one failed or brought nothing better.
func (t Token) Paused(now time.Time) *Token {
	t.wait(now, t.pause(now))
	return &t
}

// pause returns a tenth of the time that the token has left, at least MinPause and at most a tenth of MaxAge.
func (t *Token) pause(now time.Time) time.Duration {
	return max(MinPause, min(t.Left(now), MaxAge)/10)
}

// wait sets the next refresh to d from now, at most to the expiry, so that an expired token is never fresh.
func (t *Token) wait(now time.Time, d time.Duration) {
	d = min(d, t.left(now))
	t.due = now.Add(d)
	t.dueWall = now.UnixNano() + int64(d)
}
