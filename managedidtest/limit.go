package managedidtest

import "time"

// The limits of the identity category of the metadata service, per virtual machine: from Microsoft's page "Azure Instance
// Metadata Service", section "Rate limiting".
const (
	maxPerSecond = 20
	maxAtOnce    = 5
)

// limiter admits requests within the limits. The second is a sliding one.
type limiter struct {
	begun []time.Time // of the last requests that were admitted, at most maxPerSecond, oldest first
	busy  int
}

func (l *limiter) admit(now time.Time) bool {
	full := len(l.begun) == maxPerSecond && now.Sub(l.begun[0]) < time.Second
	if full || l.busy == maxAtOnce {
		return false
	}
	if len(l.begun) == maxPerSecond {
		l.begun = append(l.begun[:0], l.begun[1:]...)
	}
	l.begun = append(l.begun, now)
	l.busy++
	return true
}

func (l *limiter) release() { l.busy-- }
