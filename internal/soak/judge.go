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
	// longest is the life of a request for a token with all its tries, so that of a call whose context has no end.
	longest = 3 * time.Minute

	// swarmGrace is that of calls of a swarm, since the handshakes of a hundred requests at once take their time.
	swarmGrace = 500 * time.Millisecond

	// published is how long a token may take from its arrival to the callers.
	published = 250 * time.Millisecond

	// remaining is what a token must have left where there should be one: expiries are in whole seconds.
	remaining = 1500 * time.Millisecond
)

// call is one call of GetToken, and what came of it.
type call struct {
	name         string // the caller, and the number of its call
	key          key
	began, ended time.Time
	limit        time.Time // when it has to end
	left         bool      // its context had ended when it returned
	token        azcore.AccessToken
	err          error
}

func (c call) String() string {
	return fmt.Sprintf("%s (%v) after %v", c.name, c.key, c.ended.Sub(c.began))
}

// judge checks calls, and counts what came of them.
type judge struct {
	*recorder
	health    *health
	words     *words
	logger    *slog.Logger            // of all credentials
	clientIDs [credentialKinds]string // that tokens have to name

	mu       sync.Mutex
	outcomes map[string]int  // of calls, guarded by mu, as is the rest: "token", or why there is none
	steady   map[mood]steady // of calls with time enough at an endpoint that has been so for a while
}

func newJudge(c childConfig) *judge {
	s, v := &stalls{}, &violations{count: map[string]int{}}
	go s.watch()
	w := &words{v, []string{unspeakable, c.Secret, opaque, jwt}}
	return &judge{
		recorder: newRecorder(s, v), health: &health{spans: map[string][]span{}}, words: w, logger: w.logger(),
		clientIDs: c.ClientIDs, outcomes: map[string]int{}, steady: map[mood]steady{},
	}
}

func (j *judge) check(c call) {
	allowed := grace
	if isOfSwarm(c.key.resource) {
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
		j.words.checkError(c.String(), c.err)
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
	from, found := j.find(c.key, c.token.Token)
	claims, isJWT := readClaims(c.token.Token)
	switch {
	case isJWT && (claims.Audience != c.key.resource || claims.ClientID != j.clientIDs[c.key.credential]):
		j.add("no token of another key", "%v: got one of %s for %s", c, claims.ClientID, claims.Audience)
	case !found:
		j.add("no token of another key", "%v: got one that was never sent for it", c)
	case expires.After(from.expires), isJWT && expires.Unix() > claims.Expires:
		j.add("no token at or after its expiry", "%v: it has ExpiresOn %v, and %v in its answer", c, expires, from.expires)
	}
}

// claims are what a JWT says of itself.
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

// checkError returns the kind of the error.
func (j *judge) checkError(c call) string {
	ofContext := errors.Is(c.err, context.Canceled) || errors.Is(c.err, context.DeadlineExceeded)
	if ofContext && !c.left {
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

// valid tells whether the call has to have found the token.
func (j *judge) valid(a answer, c call) bool {
	if c.began.Sub(a.arrived) <= published || a.expires.Sub(c.ended) <= remaining {
		return false
	}
	// the library's time of sending, from which it counts, may lie a stall before the recorder's
	before := a.sent.Add(-10 * time.Second)
	stalled := a.sent.Sub(before) - j.stalls.net(before, a.sent)
	return a.expires.Sub(c.ended)-stalled > remaining && j.stalls.net(a.arrived, c.began) > published
}
