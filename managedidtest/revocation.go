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

// revocation is when a critical event was, and which tokens are from before it.
type revocation struct {
	at    int64  // in seconds since 1970, each revocation's later than that of the last
	until uint64 // the serial number of the last token then
}

// RevokeTokens has every [Resource] refuse every token that has been issued so far, as after an event that
// makes an administrator revoke them: Microsoft's page "Continuous access evaluation". Where a token says that its client
// handles CAE (xms_cc with CP1), the answer is 401 with a claims challenge that asks for a later token, else 401 as for
// an invalid one. Endpoints of managed identities go on giving the tokens that they keep, as the platform's do.
func (e *Emulator) RevokeTokens() {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	r := &revocation{time.Now().Unix(), issued.Load()}
	if last := e.s.revoked.Load(); last != nil {
		r.at = max(r.at, last.at+1) // so that its challenge is another
	}
	e.s.revoked.Store(r)
}

// issued counts the tokens of the process, so that the order is known of those that are of the same second.
var issued atomic.Uint64

// newUniqueID makes a token's identifier, 16 bytes in base64url as Entra's are, that begins with its serial number.
func newUniqueID() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], issued.Add(1))
	rand.Read(b[8:])
	return base64URL.EncodeToString(b[:])
}

// covers reports whether the token with the claims was issued before.
func (r *revocation) covers(c claims) bool {
	id, err := base64URL.DecodeString(c.UniqueID)
	return r != nil && err == nil && len(id) == 16 && binary.BigEndian.Uint64(id) <= r.until
}

// challenge are the parameters by which an API asks a client that handles CAE for a token of after the revocation:
// Microsoft's page "Claims challenges, claims requests, and client capabilities".
func (r *revocation) challenge() string {
	claims := fmt.Sprintf(`{"access_token":{"nbf":{"essential":true,"value":"%d"}}}`, r.at)
	return fmt.Sprintf(`error="insufficient_claims", claims="%s"`, base64.StdEncoding.EncodeToString([]byte(claims)))
}

// refuseRevoked answers a request with a revoked token.
func (a *Resource) refuseRevoked(w http.ResponseWriter, r *revocation, c claims) {
	params := `error="invalid_token"`
	if slices.Contains(c.Capabilities, "CP1") {
		params = r.challenge()
	}
	a.refuse(w, http.StatusUnauthorized, params, "the token has been revoked")
}
