package answer

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/managedid/managedid/internal/text"
)

// maxLifetime is ten years. No token is valid for longer.
const maxLifetime = 10 * 365 * 24 * time.Hour

// Decode reads a successful answer of any endpoint. It returns the token, and the client ID of its identity if the
// answer has one. The answer must have an access_token and at least one valid expiry; if it has two, the earlier one
// counts. Decode ignores every other field that is not valid, and its errors never quote the answer.
//
// date is the answer's Date header. expires_in and refresh_in count from sent, the time of the request. The times of
// the token are those of this machine's wall clock at now.
func Decode(body []byte, date string, sent, now time.Time) (t azcore.AccessToken, clientID string, err error) {
	var raw struct {
		AccessToken string          `json:"access_token"`
		ExpiresOn   json.RawMessage `json:"expires_on"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
		RefreshIn   json.RawMessage `json:"refresh_in"`
		ClientID    json.RawMessage `json:"client_id"`
	}
	if json.Unmarshal(text.WithoutBOM(body), &raw) != nil {
		return t, "", errors.New("the answer is not the JSON of a token")
	}
	if strings.TrimSpace(raw.AccessToken) == "" {
		return t, "", errors.New("the answer has no access_token")
	} else if !IsToken(raw.AccessToken) {
		return t, "", errors.New("the access_token in the answer can't be the value of a header")
	}
	sent = sentByWallClock(sent, now)
	expiry, ok := ExpiresOn(raw.ExpiresOn)
	if ok {
		expiry = byOwnClock(expiry, date, sent, now)
	}
	if in, has := parseSeconds(scalar(raw.ExpiresIn)); has {
		if relative := sent.Add(in); !ok || relative.Before(expiry) {
			expiry, ok = relative, true
		}
	}
	if !ok {
		return t, "", errors.New("the answer has neither a usable expires_on nor a usable expires_in")
	}
	if !now.Before(expiry) {
		return t, "", errors.New("the token in the answer has expired already; check the clock of this machine")
	}
	t = azcore.AccessToken{Token: raw.AccessToken, ExpiresOn: expiry}
	if id := scalar(raw.ClientID); text.IsGUID(id) { // anything else may be what the endpoint received
		clientID = id
	}
	if in, has := parseSeconds(scalar(raw.RefreshIn)); has && sent.Add(in).Before(t.ExpiresOn) {
		t.RefreshOn = sent.Add(in)
	}
	return t, clientID, nil
}

// sentByWallClock returns the time of sending in UTC by the current wall clock, without a monotonic reading. If the
// clock was set or the machine slept since then, two times are possible, and it returns the earlier one.
func sentByWallClock(sent, now time.Time) time.Time {
	return earlier(sent.Round(0), now.Round(0).Add(-now.Sub(sent))).UTC()
}

// byOwnClock returns an expires_on by this machine's wall clock. If the answer's Date (RFC 9110, section 6.6.1) is not
// between sent and now, the endpoint's clock differs, and expires_on is read by that clock. Date may be up to a second
// too early. Without a Date, or with one that makes the token valid for more than maxLifetime, expires_on doesn't
// change.
func byOwnClock(expiresOn time.Time, date string, sent, now time.Time) time.Time {
	at, err := http.ParseTime(date)
	if err != nil || !at.Before(sent.Add(-time.Second)) && !at.After(now.Add(time.Second)) {
		return expiresOn
	}
	left := expiresOn.Add(-time.Second).Sub(at)
	if left > maxLifetime {
		return expiresOn
	}
	return sent.Add(left)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// IsToken reports whether a text can follow "Bearer " in a header. RFC 6750, section 2.1, allows even less.
func IsToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// scalar returns the text of a JSON string or number, and "" for anything else.
func scalar(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return strings.TrimSpace(s)
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil {
		return n.String()
	}
	return ""
}

// parseNumber reads a number of seconds from 1 to limit, and drops its fraction.
func parseNumber(s string, limit float64) (int64, bool) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 1) || f > limit {
		return 0, false
	}
	return int64(f), true
}

// parseSeconds reads a duration in seconds, of at most maxLifetime.
func parseSeconds(s string) (time.Duration, bool) {
	n, ok := parseNumber(s, maxLifetime.Seconds())
	return time.Duration(n) * time.Second, ok
}

// ExpiresOn reads the field expires_on: Unix seconds or a date, as a JSON number or string. Dates seen: "06/19/2019
// 23:42:01 +00:00" (App Service 2017-09-01 on Linux), "1/16/2020 5:24:12 AM +00:00" (on Windows), "09/14/2017 00:00:00
// PM +00:00" (its old documentation), RFC 3339, "2006-01-02 15:04:05". A date without a zone is UTC.
func ExpiresOn(raw json.RawMessage) (time.Time, bool) {
	s := scalar(raw)
	const year9999 = 253402300799
	if n, ok := parseNumber(s, year9999); ok {
		return time.Unix(n, 0).UTC(), true
	}
	if len(s) > 40 {
		return time.Time{}, false
	}
	fields := strings.Fields(strings.ToUpper(strings.Replace(s, "T", " ", 1)))
	marker := ""
	joined := ""
	for i, f := range fields {
		switch {
		case f == "AM" || f == "PM":
			marker = f
		case i < 2:
			joined += f + " "
		default:
			joined = strings.TrimSuffix(joined, " ") + f
		}
	}
	joined = strings.TrimSpace(joined)
	for _, layout := range []string{"1/2/2006 15:4:5", "1/2/2006 15:4:5Z07:00", "2006-1-2 15:4:5",
		"2006-1-2 15:4:5Z07:00"} {
		if t, err := time.Parse(layout, joined); err == nil {
			t = twelveHour(t, marker).UTC()
			return t, t.Unix() <= year9999
		}
	}
	return time.Time{}, false
}

// twelveHour applies AM or PM to an hour of a 12-hour clock. An hour of 0 or from 13 to 23 is already of a 24-hour
// clock, as in "00:00:00 PM".
func twelveHour(t time.Time, marker string) time.Time {
	switch h := t.Hour(); {
	case marker == "AM" && h == 12:
		return t.Add(-12 * time.Hour)
	case marker == "PM" && h >= 1 && h < 12:
		return t.Add(12 * time.Hour)
	}
	return t
}
