package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/managedid/managedid/managedidtest"
)

// verify checks a token as the service does that it is sent to, by the service's clock.
func (l *Lab) verify(ctx context.Context, token, audience string) (managedidtest.Claims, error) {
	claims, err := managedidtest.VerifyToken(ctx, l.Emulator.Client(), l.Emulator.JWKSURL(), token, audience)
	switch {
	case err != nil:
		return claims, err
	case claims.TenantID != l.Emulator.TenantID():
		return claims, errors.New("lab: the token is from another tenant")
	case l.remaining(claims) <= 0:
		return claims, errors.New("lab: the token has expired")
	}
	return claims, nil
}

// remaining is the life that a token has left by the services' clock.
func (l *Lab) remaining(claims managedidtest.Claims) time.Duration {
	return time.Until(claims.Expires) - l.ClockAhead
}

// principal is who may have a role or user in a database.
type principal struct{ name, objectID string }

// principals are the host's identities, the system-assigned one first, and the applications.
func (l *Lab) principals() (all []principal) {
	for i, id := range append([]managedidtest.Identity{l.Emulator.SystemAssigned()}, l.Emulator.UserAssigned()...) {
		if id.ObjectID != "" {
			all = append(all, principal{fmt.Sprintf("lab-identity-%d", i), id.ObjectID})
		}
	}
	for i, app := range l.Emulator.Applications() {
		all = append(all, principal{fmt.Sprintf("lab-application-%d", i), app.ObjectID})
	}
	return all
}
