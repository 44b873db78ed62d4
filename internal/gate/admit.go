package gate

import (
	"slices"
	"time"
)

// Cause is why a ticket that wants a turn doesn't get one.
type Cause int

const (
	Free    Cause = iota
	Paused        // the endpoint asked for a pause
	Crowded       // the limit of requests under way is reached
	Limited       // the limit of requests in a second is reached
	Unsure        // others were sent first, to see whether the endpoint answers
	Failing       // the endpoint fails, and is tried from time to time
)

// admit reports whether a ticket may have a turn now. If not, until is when to look again, and zero means at the next
// event.
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
		return until, Unsure // step looks again at markLate's time anyway
	}
	if m.failures > 0 {
		if until = m.last.Add(m.spacing(t)); now.Before(until) {
			return until, Failing
		}
	}
	m.ended = slices.DeleteFunc(m.ended, func(end time.Time) bool { return !now.Before(end.Add(time.Second)) })
	// A request counts in the rate until a second after its end, because the endpoint may have counted it at any time
	// while it was under way.
	if m.PerSecond > 0 && len(m.turns)+len(m.ended) >= m.PerSecond {
		if len(m.ended) == 0 { // all requests that count are under way
			return time.Time{}, Crowded
		}
		return m.ended[0].Add(time.Second), Limited
	}
	if m.Parallel > 0 && len(m.turns) >= m.Parallel {
		return time.Time{}, Crowded
	}
	return time.Time{}, Free
}

// spacing returns the time between requests to a failing endpoint. It grows with the failures, unless a caller waits
// for whom there was no try.
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

// evict takes the place from a request that has had no answer for long, if such requests hold all places. The victim is
// the request that began last: the others go on, because the endpoint may be slow. If the endpoint has answered a later
// request, the victim is the first one, because its answer is lost. until is when to look again.
func (m *machine) evict(now time.Time) (until time.Time) {
	var victim *Turn
	for _, t := range m.turns {
		switch due := later(t.began.Add(evictAfter), t.lateAt); {
		case t.evicted:
			return time.Time{} // its place is free soon
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
