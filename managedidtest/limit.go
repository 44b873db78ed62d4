package managedidtest

import "time"

// The limits of IMDS's identity category per virtual machine. They are from Microsoft's page "Azure Instance Metadata
// Service", section "Rate limiting".
const (
	maxPerSecond = 20
	maxAtOnce    = 5
)

// limiter admits requests within the limits. It counts the requests of a sliding second.
type limiter struct {
	// recent are the times of the last admitted requests, at most maxPerSecond, oldest first.
	recent []time.Time
	active int // admitted requests without an answer
}

// admit reports whether a request may start now. The caller must release an admitted one.
func (l *limiter) admit(now time.Time) bool {
	full := len(l.recent) == maxPerSecond && now.Sub(l.recent[0]) < time.Second
	if full || l.active == maxAtOnce {
		return false
	}
	if len(l.recent) == maxPerSecond {
		l.recent = append(l.recent[:0], l.recent[1:]...)
	}
	l.recent = append(l.recent, now)
	l.active++
	return true
}

func (l *limiter) release() { l.active-- }
