// Package tokens says whether a token may still be handed out, and when it is to be refreshed.
package tokens

import (
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const (
	// DefaultRefreshBefore is how long before its expiry a token is refreshed.
	DefaultRefreshBefore = 5 * time.Minute
	// UrgentBefore is how long before the expiry callers wait for the refresh, each at most UrgentWait.
	UrgentBefore = 2 * time.Minute
	UrgentWait   = 2 * time.Second
	// LastMoment is how long before its expiry a waiting caller takes a token, since the wait may end late.
	LastMoment = 100 * time.Millisecond
	// MinPause is the least time between a token's arrival, or a refresh in vain, and the next refresh.
	MinPause = 30 * time.Second
	// MaxAge is how long after its arrival a token is refreshed at the latest, whatever its answer says.
	MaxAge = 24 * time.Hour
)

// Token is immutable once published, so that a hit needs no lock. It is expired until Planned has seen its arrival.
//
// Its times are kept by two clocks, and the one that gets there first counts. The wall clock may be set back. The
// monotonic clock can't, but may stand still while the machine sleeps.
type Token struct {
	// AccessToken has ExpiresOn and RefreshOn by this machine's wall clock, in UTC, without monotonic reading.
	// RefreshOn is the time planned when the token arrived.
	azcore.AccessToken
	ClientID string    // of its identity, as the answer says; "": it says nothing
	Asked    time.Time // when the flight that brought it began
	Claims   string    // the challenge that it was asked for with
	Flight   int       // the number of the flight that brought it

	due     time.Time // when to refresh, never after the expiry; by the monotonic clock where it was read on arrival
	dueWall int64     // the same by the wall clock, in Unix nanoseconds: at most MaxAge ahead, so it can't overflow
	expiry  time.Time // ExpiresOn by the monotonic clock where it was read on arrival
}

// Left is how long the token is valid still. It is 0 for nil and for an expired token.
func (t *Token) Left(now time.Time) time.Duration {
	if t == nil {
		return 0
	}
	return max(0, t.left(now))
}

// left is negative after the expiry.
func (t *Token) left(now time.Time) time.Duration {
	return min(t.ExpiresOn.Sub(now), t.expiry.Sub(now))
}

// Freshness says what a token is good for.
type Freshness int

const (
	Expired Freshness = iota // never handed out
	Fresh                    // handed out
	Due                      // handed out, and a refresh begins behind the caller's back
	Urgent                   // handed out after a short wait for the refresh
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

// IsFresh tells whether Freshness is Fresh, at the price of a comparison for each clock. A nil token is not.
func (t *Token) IsFresh(now time.Time) bool {
	return t != nil && now.Before(t.due) && now.UnixNano() < t.dueWall
}

// Due is when to refresh the token, by the wall clock: at RefreshOn, or after the pause that followed a refresh.
func (t *Token) Due() time.Time { return time.Unix(0, t.dueWall).UTC() }

// Planned returns a token that arrives now with its times of refresh: refreshBefore the expiry, or at RefreshOn where
// the endpoint asked for an earlier one, but MinPause from now at the earliest and MaxAge at the latest. A token that
// is due on arrival gets a pause. now has the monotonic reading of time.Now; without it, the wall clock counts alone.
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

// Paused returns the token with its next refresh put off, since the last one failed or brought nothing better.
func (t Token) Paused(now time.Time) *Token {
	t.wait(now, t.pause(now))
	return &t
}

// pause is a tenth of the time that the token has left, of MaxAge at most, but no less than MinPause.
func (t *Token) pause(now time.Time) time.Duration {
	return max(MinPause, min(t.Left(now), MaxAge)/10)
}

// wait puts the next refresh off, to the expiry at most, so that a fresh token is never an expired one.
func (t *Token) wait(now time.Time, d time.Duration) {
	d = min(d, t.left(now))
	t.due = now.Add(d)
	t.dueWall = now.UnixNano() + int64(d)
}
