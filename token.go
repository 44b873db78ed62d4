package managedid

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const (
	// defaultRefreshBefore is how long before its expiry a token is refreshed.
	defaultRefreshBefore = 5 * time.Minute
	// urgentBefore is how long before the expiry callers wait for the refresh, each at most urgentWait.
	urgentBefore = 2 * time.Minute
	urgentWait   = 2 * time.Second
	// lastMoment is how long before its expiry a waiting caller takes a token, since the wait may end late.
	lastMoment = 100 * time.Millisecond
	minPause   = 30 * time.Second
)

// token is immutable once published, so that a hit needs no lock.
type token struct {
	azcore.AccessToken           // RefreshOn is the time planned when it arrived
	due                time.Time // when to refresh, ExpiresOn at the latest; after RefreshOn in the pause after a refresh
	asked              time.Time // when the flight that brought it began
	claims             string    // the challenge that it was asked for with
	flight             int       // the number of the flight that brought it
	clientID           string    // of its identity, as the answer says; "": it says nothing
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// left is how long the token is valid still.
func (t *token) left(now time.Time) time.Duration {
	if t == nil {
		return 0
	}
	return max(0, t.ExpiresOn.Sub(now))
}

type freshness int

const (
	expired freshness = iota // never handed out
	fresh                    // handed out
	due                      // handed out, and a refresh begins behind the caller's back
	urgent                   // handed out after a short wait for the refresh
)

// freshness is the whole policy of when a token is used and when it is refreshed. A nil token is expired.
func (t *token) freshness(now time.Time) freshness {
	switch {
	case t == nil:
		return expired
	case now.Before(t.due):
		return fresh
	case !now.Before(t.ExpiresOn):
		return expired
	case t.ExpiresOn.Sub(now) >= urgentBefore:
		return due
	default:
		return urgent
	}
}

// planned returns the token with its times of refresh: refreshBefore the expiry, or at RefreshOn where the
// endpoint asked for an earlier one. A token that is due on arrival gets a pause.
func (t token) planned(now time.Time, refreshBefore time.Duration) *token {
	at := t.ExpiresOn.Add(-refreshBefore)
	if t.RefreshOn.IsZero() || at.Before(t.RefreshOn) {
		t.RefreshOn = at
	}
	t.due = t.RefreshOn
	if !now.Before(t.due) {
		return t.paused(now)
	}
	return &t
}

// paused returns the token with its next refresh put off, since the last one failed or brought nothing better.
func (t token) paused(now time.Time) *token {
	t.due = now.Add(max(minPause, t.ExpiresOn.Sub(now)/10)).Round(0)
	if t.due.After(t.ExpiresOn) {
		t.due = t.ExpiresOn
	}
	return &t
}

var bom = []byte("\xef\xbb\xbf")

// decodeToken reads a successful answer of any endpoint. It needs a non-empty access_token and at least one
// usable expiry, takes the earlier one, and ignores what else it can't use. expires_in and refresh_in count from
// sent. Errors never quote the answer.
func decodeToken(body []byte, sent, now time.Time) (token, error) {
	var raw struct {
		AccessToken string          `json:"access_token"`
		ExpiresOn   json.RawMessage `json:"expires_on"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
		RefreshIn   json.RawMessage `json:"refresh_in"`
		ClientID    json.RawMessage `json:"client_id"`
	}
	if json.Unmarshal(bytes.TrimPrefix(body, bom), &raw) != nil {
		return token{}, errors.New("the answer is not the JSON of a token")
	}
	if strings.TrimSpace(raw.AccessToken) == "" {
		return token{}, errors.New("the answer has no access_token")
	} else if !isToken(raw.AccessToken) {
		return token{}, errors.New("the access_token in the answer can't be the value of a header")
	}
	expiry, ok := parseExpiresOn(scalar(raw.ExpiresOn))
	if in, has := parseSeconds(scalar(raw.ExpiresIn)); has {
		if relative := sent.Add(in); !ok || relative.Before(expiry) {
			expiry, ok = relative, true
		}
	}
	if !ok {
		return token{}, errors.New("the answer has neither a usable expires_on nor a usable expires_in")
	}
	// Round drops the monotonic reading, which stands still while a machine sleeps
	t := token{AccessToken: azcore.AccessToken{Token: raw.AccessToken, ExpiresOn: expiry.Round(0).UTC()}}
	if id := scalar(raw.ClientID); isGUID(id) { // anything else might be what the endpoint was sent
		t.clientID = id
	}
	if !now.Before(t.ExpiresOn) {
		return token{}, errors.New("the token in the answer has expired already; check the clock of this machine")
	}
	if in, has := parseSeconds(scalar(raw.RefreshIn)); has && sent.Add(in).Before(t.ExpiresOn) {
		t.RefreshOn = sent.Add(in).Round(0).UTC()
	}
	return t, nil
}

// echoed tells what an answer says in the fields of these names: that its token is the identity's with this ID, or another's.
func echoed(body []byte, id ManagedIDKind, names ...string) (its, others bool) {
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(bytes.TrimPrefix(body, bom), &fields)
	for _, name := range names {
		var echo string
		if value, ok := fields[name]; ok && (json.Unmarshal(value, &echo) != nil || echo != "") {
			same := strings.EqualFold(echo, id.String())
			its, others = its || same, others || !same
		}
	}
	return its, others
}

// isToken tells whether it can stand behind "Bearer " in a header. RFC 6750, section 2.1, allows even less.
func isToken(s string) bool {
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

// parseNumber reads a positive number of seconds and drops its fraction.
func parseNumber(s string, limit float64) (int64, bool) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 1) || f > limit {
		return 0, false
	}
	return int64(f), true
}

// parseSeconds reads a duration; more than ten years is no token's.
func parseSeconds(s string) (time.Duration, bool) {
	n, ok := parseNumber(s, 10*365*24*3600)
	return time.Duration(n) * time.Second, ok
}

// parseExpiresOn reads Unix seconds or a date. Dates seen: "06/19/2019 23:42:01 +00:00" (App Service 2017-09-01 on Linux),
// "1/16/2020 5:24:12 AM +00:00" (on Windows), "09/14/2017 00:00:00 PM +00:00" (its old documentation), RFC 3339,
// "2006-01-02 15:04:05". A date without a zone is UTC.
func parseExpiresOn(s string) (time.Time, bool) {
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
	for _, layout := range []string{"1/2/2006 15:4:5", "1/2/2006 15:4:5Z07:00", "2006-1-2 15:4:5", "2006-1-2 15:4:5Z07:00"} {
		if t, err := time.Parse(layout, joined); err == nil {
			t = twelveHour(t, marker).UTC()
			return t, t.Unix() <= year9999
		}
	}
	return time.Time{}, false
}

// twelveHour applies AM or PM to an hour of a 12-hour clock. Hours 0 and 13 to 23 are of a 24-hour clock already,
// as in "00:00:00 PM".
func twelveHour(t time.Time, marker string) time.Time {
	switch h := t.Hour(); {
	case marker == "AM" && h == 12:
		return t.Add(-12 * time.Hour)
	case marker == "PM" && h >= 1 && h < 12:
		return t.Add(12 * time.Hour)
	}
	return t
}
