package answer

import (
	"net/http"
	"strconv"
	"time"
)

// Pause reports whether an answer asks for a pause: a 429, or a server error that names a time. The pause is zero if a
// 429 names none.
func Pause(resp *http.Response) (pause time.Duration, asked bool) {
	pause = RetryAfter(resp.Header, time.Now())
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests:
		return pause, true
	case code == http.StatusServiceUnavailable:
		return pause, pause > 0
	case code >= 500:
		return min(pause, maxServerPause), pause > 0 // callers that can wait should still succeed
	}
	return 0, false
}

const (
	MaxRetryAfter  = 5 * time.Minute // a longer Retry-After is cut to this
	maxServerPause = 2 * time.Minute // the same for a server error other than 503
)

// RetryAfter returns the pause that the headers name. It reads them in azcore's order: two with milliseconds, then one
// with seconds or an HTTP date (RFC 9110, section 10.2.3). It returns zero for an invalid value, zero or a time in the
// past.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	for _, f := range []struct {
		name string
		unit time.Duration
	}{{"retry-after-ms", time.Millisecond}, {"x-ms-retry-after-ms", time.Millisecond}, {"Retry-After", time.Second}} {
		value := h.Get(f.name)
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && n > 0 {
			return time.Duration(min(n, int64(MaxRetryAfter/f.unit))) * f.unit
		}
		if t, err := http.ParseTime(value); err == nil && f.unit == time.Second && t.After(now) {
			return min(t.Sub(now), MaxRetryAfter)
		}
	}
	return 0
}

// AsksForPause reports whether an answer asks for a pause, however long.
func AsksForPause(resp *http.Response) bool {
	_, asked := Pause(resp)
	return asked
}
