package testkit

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// FakeEntra is a Transporter without sockets that answers as Entra does, for bubbles. Each token is another.
type FakeEntra struct {
	Script Script

	mu    sync.Mutex
	Began time.Time       // of the first request; guarded by mu, as is the rest
	Sent  []*http.Request // without bodies
	Forms []url.Values
}

func (f *FakeEntra) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	if len(f.Sent) == 0 {
		f.Began = time.Now()
	}
	n := len(f.Sent)
	f.Sent, f.Forms = append(f.Sent, r), append(f.Forms, form)
	f.mu.Unlock()
	if f.Script != nil {
		if resp, err := f.Script(n, r); resp != nil || err != nil {
			return resp, err
		}
	}
	return EntraToken(r, n), nil
}

// Form is that of the n-th request, for scripts.
func (f *FakeEntra) Form(n int) url.Values {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Forms[n]
}

// Count returns how many requests came.
func (f *FakeEntra) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.Sent)
}

// EntraToken is the answer to the n-th request.
func EntraToken(r *http.Request, n int) *http.Response {
	return Respond(r, 200, fmt.Sprintf(`{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"%s-%d"}`, SecretToken, n))
}

// EntraError is an answer as Entra gives it, with what differs each time.
func EntraError(code int, kind, text string) string {
	id := time.Now().UnixNano()
	description := fmt.Sprintf("AADSTS%d: %s Trace ID: %x Correlation ID: %x Timestamp: %s", code, text, id, id, time.Now().Format(time.RFC3339))
	body, _ := json.Marshal(map[string]any{"error": kind, "error_description": description, "error_codes": []int{code},
		"timestamp": time.Now().Format("2006-01-02 15:04:05Z"), "trace_id": fmt.Sprint(id), "correlation_id": fmt.Sprint(id),
		"error_uri": fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", code)})
	return string(body)
}
