package managedidtest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// revocation is one call of RevokeTokens. It covers the tokens that were issued before it.
type revocation struct {
	unixTime   int64  // in seconds since 1970; later than that of the previous revocation
	lastSerial uint64 // serial number of the last token before it
}

// RevokeTokens makes every [Resource] reject all tokens issued so far, as after an event for which an administrator
// revokes them: Microsoft's page "Continuous access evaluation" (CAE). The answer has status 401. If the token says
// that its client supports CAE (xms_cc with CP1), the answer has a claims challenge that requires a later token.
// Otherwise it is the answer to an invalid token. As in Azure, the endpoints of managed identities continue to return
// their cached tokens.
func (e *Emulator) RevokeTokens() {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	r := &revocation{time.Now().Unix(), issued.Load()}
	if last := e.s.revoked.Load(); last != nil {
		r.unixTime = max(r.unixTime, last.unixTime+1) // so that the challenge differs
	}
	e.s.revoked.Store(r)
}

// issued counts the tokens of the process. It orders tokens of the same second.
var issued atomic.Uint64

// newUniqueID returns a token's unique ID. Like Entra's, it is 16 bytes in base64url. It begins with the serial number
// of the token.
func newUniqueID() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], issued.Add(1))
	rand.Read(b[8:])
	return base64URL.EncodeToString(b[:])
}

// covers reports whether the token with the claims was issued before the revocation. A nil revocation covers none.
func (r *revocation) covers(c claims) bool {
	id, err := base64URL.DecodeString(c.UniqueID)
	return r != nil && err == nil && len(id) == 16 && binary.BigEndian.Uint64(id) <= r.lastSerial
}

// challenge returns the parameters with which an API asks a client that supports CAE for a token from after the
// revocation: Microsoft's page "Claims challenges, claims requests, and client capabilities".
func (r *revocation) challenge() string {
	claims := fmt.Sprintf(`{"access_token":{"nbf":{"essential":true,"value":"%d"}}}`, r.unixTime)
	return fmt.Sprintf(`error="insufficient_claims", claims="%s"`, base64.StdEncoding.EncodeToString([]byte(claims)))
}

// refuseRevoked answers a request that has a revoked token.
func (a *Resource) refuseRevoked(w http.ResponseWriter, r *revocation, c claims) {
	params := `error="invalid_token"`
	if slices.Contains(c.Capabilities, "CP1") {
		params = r.challenge()
	}
	a.refuse(w, http.StatusUnauthorized, params, "the token has been revoked")
}
