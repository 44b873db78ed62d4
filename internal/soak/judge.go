package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/managedid/managedid"
)

const (
	// longest is the lifetime of a token request with all its tries. A call without a deadline takes no longer.
	longest = 3 * time.Minute

	// swarmGrace replaces grace for calls of a swarm, since a hundred simultaneous handshakes take time.
	swarmGrace = 500 * time.Millisecond

	// deliveryTime is the time in which an arrived token reaches the callers.
	deliveryTime = 250 * time.Millisecond

	// remaining is the lifetime that a token must have left to count as valid. Expiries are in whole seconds.
	remaining = 1500 * time.Millisecond
)

// call is a call of GetToken and its result.
type call struct {
	name         string // the caller, and the number of the call
	key          key
	began, ended time.Time
	limit        time.Time // latest time at which it must end
	contextEnded bool      // its context had ended when it returned
	token        azcore.AccessToken
	err          error
}

func (c call) String() string {
	return fmt.Sprintf("%s (%v) after %v", c.name, c.key, c.ended.Sub(c.began))
}

// judge checks calls and counts their outcomes.
type judge struct {
	*recorder
	health    *health
	texts     *textChecker
	logger    *slog.Logger            // of all credentials
	clientIDs [credentialKinds]string // that tokens must name

	mu       sync.Mutex           // guards all fields below
	outcomes map[string]int       // of calls: "token", or why there is none
	steady   map[condition]steady // calls with enough time at an endpoint that was long enough in a condition
}

func newJudge(c childConfig) *judge {
	s, v := &stalls{}, &violations{count: map[string]int{}}
	go s.watch()
	w := &textChecker{v, []string{forbiddenText, c.Secret, opaque, jwt}}
	return &judge{
		recorder: newRecorder(s, v), health: &health{spans: map[string][]span{}}, texts: w, logger: w.logger(),
		clientIDs: c.ClientIDs, outcomes: map[string]int{}, steady: map[condition]steady{},
	}
}

// check checks that the call ended in time, and its result.
func (j *judge) check(c call) {
	allowed := grace
	if isSwarmResource(c.key.resource) {
		allowed = swarmGrace
	}
	if from := later(c.began, c.limit); j.stalls.exceeds(from, c.ended, allowed) {
		j.add("every call ends within its deadline", "%v: %v late, not counting stalls", c, j.stalls.net(from, c.ended))
	}
	outcome := "token"
	if c.err == nil {
		j.checkToken(c)
	} else {
		outcome = j.checkError(c)
		j.texts.checkError(c.String(), c.err)
	}
	j.checkSteady(c)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.outcomes[outcome]++
}

func (j *judge) checkToken(c call) {
	expires := c.token.ExpiresOn
	if !c.began.Before(expires) || j.stalls.exceeds(expires, c.ended, grace) {
		j.add("no token at or after its expiry", "%v: it expired %v before the call ended", c, c.ended.Sub(expires))
	}
	received, found := j.find(c.key, c.token.Token)
	claims, isJWT := readClaims(c.token.Token)
	switch {
	case isJWT && (claims.Audience != c.key.resource || claims.ClientID != j.clientIDs[c.key.credential]):
		j.add("no token of another key", "%v: got one of %s for %s", c, claims.ClientID, claims.Audience)
	case !found:
		j.add("no token of another key", "%v: got one that was never sent for it", c)
	case expires.After(received.expires), isJWT && expires.Unix() > claims.Expires:
		j.add("no token at or after its expiry", "%v: it has ExpiresOn %v, and %v in its answer", c, expires,
			received.expires)
	}
}

// claims are claims of a JWT.
type claims struct {
	Audience string `json:"aud"`
	ClientID string `json:"appid"`
	Expires  int64  `json:"exp"`
}

func readClaims(token string) (c claims, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, false
	}
	content, err := base64.RawURLEncoding.DecodeString(parts[1])
	return c, err == nil && json.Unmarshal(content, &c) == nil
}

// checkError checks a failed call and returns the kind of its error.
func (j *judge) checkError(c call) string {
	ofContext := errors.Is(c.err, context.Canceled) || errors.Is(c.err, context.DeadlineExceeded)
	if ofContext && !c.contextEnded {
		j.add("no context's error of another's", "%v: %v", c, c.err)
	}
	if a, ok := j.find(c.key, ""); ok && j.valid(a, c) {
		j.add("an answer while a valid token exists", "%v: one arrived %v before the call and had %v left: %v",
			c, c.began.Sub(a.arrived), a.expires.Sub(c.ended), c.err)
	}
	if ofContext {
		return "its context ended"
	}
	switch e := c.err.(type) {
	case *managedid.AuthenticationFailedError:
		return "failed " + string(e.Reason)
	case *managedid.CredentialUnavailableError:
		return "unavailable " + string(e.Reason)
	}
	j.add("errors of the library's types", "%v: %T %v", c, c.err, c.err)
	return "other"
}

// valid reports whether the token was valid and known for the whole call, so that the call had to return it.
func (j *judge) valid(a answer, c call) bool {
	if c.began.Sub(a.arrived) <= deliveryTime || a.expires.Sub(c.ended) <= remaining {
		return false
	}
	// The library counts from its own time of sending. A stall may lie between this time and the recorder's.
	start := a.sent.Add(-10 * time.Second)
	stalled := a.sent.Sub(start) - j.stalls.net(start, a.sent)
	return a.expires.Sub(c.ended)-stalled > remaining && j.stalls.net(a.arrived, c.began) > deliveryTime
}
