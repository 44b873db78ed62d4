package gate

import (
	"slices"
	"time"
)

// Cause is why a ticket that wants a turn has none.
type Cause int

const (
	Free    Cause = iota
	Paused        // the endpoint asked for a pause
	Crowded       // as many requests are under way as may be
	Limited       // as many requests have begun in the last second as may
	Unsure        // others have been sent, to see whether it answers
	Failing       // it fails, and is tried from time to time
)

// admit says whether a ticket may have a turn now; if not, when to look again, zero meaning at the next event.
func (m *machine) admit(now time.Time, t *Ticket) (until time.Time, _ Cause) {
	if m.closed && now.Before(m.opens) {
		return m.opens, Paused
	}
	active := 0
	for _, turn := range m.turns {
		if !turn.late {
			active++
		}
	}
	if active >= m.window {
		return until, Unsure // markLate's time is looked at anyway
	}
	if m.failures > 0 {
		if until = m.last.Add(m.spacing(t)); now.Before(until) {
			return until, Failing
		}
	}
	m.ended = slices.DeleteFunc(m.ended, func(t time.Time) bool { return !now.Before(t.Add(time.Second)) })
	// A request occupies its place in the rate until a second after its end, since when within its time the endpoint
	// counted it can't be known.
	if m.PerSecond > 0 && len(m.turns)+len(m.ended) >= m.PerSecond {
		if len(m.ended) == 0 { // all that count are under way
			return time.Time{}, Crowded
		}
		return m.ended[0].Add(time.Second), Limited
	}
	if m.Parallel > 0 && len(m.turns) >= m.Parallel {
		return time.Time{}, Crowded
	}
	return time.Time{}, Free
}

// spacing is the time between requests to a failing endpoint.
func (m *machine) spacing(t *Ticket) time.Duration {
	d := t.pace
	if m.untried == 0 {
		for range min(m.failures-1, 8) {
			d += d / 2
		}
		d = min(d, max(t.pace, maxPace*5/6))
	}
	return d + time.Duration(m.spread*float64(d)/5)
}

// evict has a request give up its place that has had no answer for long, where all places are taken by such. The one
// that has begun last: the others go on, in case the endpoint is slow. But once the endpoint has answered a later
// request, the first: its answer is lost. It returns when to look again.
func (m *machine) evict(now time.Time) (until time.Time) {
	var victim *Turn
	for _, t := range m.turns {
		switch due := later(t.began.Add(evictAfter), t.lateAt); {
		case t.evicted:
			return time.Time{} // its place is about to be free
		case now.Before(due):
			until = earliest(until, due)
		case victim == nil || victim.began.After(m.heard) || victim.began.Equal(m.heard):
			victim = t
		}
	}
	if victim != nil {
		victim.evicted = true
		close(victim.Evicted)
	}
	return until
}
