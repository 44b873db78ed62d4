package conformance

import (
	"slices"
	"time"
)

// modelFlight is one request for a token, however many want it.
type modelFlight struct {
	place       *modelPlace
	claims      string
	number      int
	made, began time.Time
	keep        time.Time // wanted until then, whoever waits
	since       time.Time // wanted without a break since then
	owner       *modelCall
	callers     []*modelCall
	guests      []*modelCall // who have come just now, though they may have left
	untried     bool         // one has come since the last try
	perhaps     bool         // one came when it began
	tried       time.Time    // when that was
	shots       []*modelShot
	changed     time.Time // when one of two was given up
	hedged      bool      // this try has had a second request

	// rest is when it wants the next try, plan what it was before somebody woke it. Both are bounds.
	rest, plan  [2]time.Time
	early       bool // it was woken
	likely      bool // it was perhaps
	least, most int  // retries used
	last        bool // its try is the last, and has no more requests

	landed  bool
	token   *modelToken
	outcome string
}

func (f *modelFlight) missed(now time.Time) bool { return len(f.callers) > 0 || now.Before(f.keep) }

// modelShot is a request under way.
type modelShot struct {
	request      *modelRequest
	flight       *modelFlight
	ends, lateAt time.Time
	late         [2]bool // in each view
	gone         bool
	closings     int // of the gate, when it was sent
}

// modelView is how the endpoint looks to those who note at once that a request is late, or only when something else
// happens. The library is free to do either.
type modelView struct {
	window  int // requests at once, without late ones
	failing int // failures since the last answer
}

func (v *modelView) fails() { v.failing, v.window = v.failing+1, 1 }

// modelGate is what is known of the endpoint.
type modelGate struct {
	flights  []*modelFlight // that have not landed
	underway []*modelShot
	records  []modelPause // what the library says of its pauses, by time

	opens      time.Time
	closed     bool
	closings   int
	views      [2]modelView
	failure    int // the status of the last, -1 for none
	last       time.Time
	answeredAt time.Time
	recoveries [2]time.Time // when an answer last followed failures, in each view
	latency    time.Duration
}

type modelPause struct{ at, until time.Time }

func (m *model) joined(now time.Time, f *modelFlight) {
	f.untried = true
	if len(f.shots) == 0 {
		f.wake(now, true)
	}
}

// wake ends a rest, a second after the last try at the earliest.
func (f *modelFlight) wake(now time.Time, early bool) {
	at := f.tried.Add(time.Second)
	if at.Before(now) {
		at = now
	}
	f.early = f.early || early && at.Before(f.rest[0])
	f.likely = f.likely || early && at.Before(f.rest[1])
	f.rest = [2]time.Time{earlier(f.rest[0], at), earlier(f.rest[1], at)}
}

// mayWake is wake where it isn't known whether the library does.
func (f *modelFlight) mayWake(now time.Time) {
	latest := f.rest[1]
	f.wake(now, false)
	f.rest[1] = latest
}

// wants is from when on a flight may send a request, and from when on it wants to. ok: it may want one.
func (m *model) wants(now time.Time, f *modelFlight) (least, most time.Time, ok bool) {
	switch {
	case len(f.shots) == 0:
		return f.rest[0], f.rest[1], !f.tried.IsZero() || f.missed(now)
	case m.retries == 0 || f.last || !f.missed(now):
		return least, most, false
	case len(f.shots) == 1:
		least = f.shots[0].request.at.Add(3 * time.Second)
	default:
		least = f.shots[1].request.at.Add(3 * time.Second)
	}
	most = least
	if len(f.shots) == 2 && (f.untried || f.perhaps) {
		least = least.Add(-1500 * time.Millisecond)
	}
	if f.hedged || !f.since.Before(least) { // it looks twice a second
		for _, t := range []time.Time{f.since, f.changed, f.lastJoined()} {
			if t.After(most) {
				most = t
			}
		}
		most = most.Add(500 * time.Millisecond)
	}
	return least, most, true
}

func (f *modelFlight) lastJoined() (at time.Time) {
	for _, c := range f.callers {
		if c.joined.After(at) {
			at = c.joined
		}
	}
	return at
}

// open: at the end of a pause all who rest are woken.
func (m *model) open(now time.Time) {
	if m.closed && !now.Before(m.opens) {
		m.closed = false
		m.wakeAll(now, true)
	}
}

func (m *model) wakeAll(now time.Time, early bool) {
	for _, f := range m.flights {
		if len(f.shots) == 0 && now.Before(f.rest[1]) {
			f.wake(now, early)
		}
	}
}

// markLate: who has no answer for a second, or for twice the time that others took, holds up nobody.
func (m *model) markLate(now time.Time, views ...int) {
	for _, i := range views {
		for _, s := range m.underway {
			if !s.late[i] && !now.Before(s.lateAt) {
				s.late[i] = true
				if !m.answeredAt.After(s.request.at) {
					m.views[i].fails()
				}
			}
		}
	}
}

// spacing is the time between requests to a failing endpoint: longer where nobody new has come, and a fifth more at
// random.
func (m *model) spacing(now time.Time, failing int) (least, most time.Duration) {
	d := time.Second
	for range min(failing-1, 8) {
		d += d / 2
	}
	least, most = min(d, 5*time.Second*5/6), min(d, 5*time.Second*5/6)
	for _, f := range m.flights {
		soonest, _, ok := m.wants(now, f)
		if len(f.shots) == 0 {
			soonest = now
		}
		if ok && (f.untried || f.perhaps) && !now.Before(soonest) {
			least = time.Second // at the latest is for the gate's own tests, which know who has left
		}
	}
	return least, most + most/5
}

// admits tells whether a request may be sent, and whether one that waits must be.
func (m *model) admits(now time.Time) (may, must bool) {
	if must = !now.Before(m.opens); !must {
		return false, false
	}
	for i, v := range m.views {
		active := 0
		for _, s := range m.underway {
			if !s.late[i] {
				active++
			}
		}
		least, most := time.Duration(0), time.Duration(0)
		if v.failing > 0 {
			least, most = m.spacing(now, v.failing)
		}
		may = may || active < v.window && !now.Before(m.last.Add(least))
		must = must && active < v.window && !now.Before(m.last.Add(most))
	}
	return may, must
}

func (m *model) send(now time.Time, r *modelRequest) {
	f := m.places[r.key].flights[r.claims]
	if f == nil {
		m.check(false, "a request for %s %s that nobody wants, or a second one", r.key, r.claims)
		return
	}
	least, _, ok := m.wants(now, f)
	m.check(ok && !now.Before(least), "a request for %s %s too early, or for nobody: it rests from %s to %s",
		r.key, r.claims, shortTime(f.rest[0]), shortTime(f.rest[1]))
	if len(f.shots) == 2 { // the younger is replaced
		m.drop(f.shots[1])
		f.shots = f.shots[:1]
	}
	may, _ := m.admits(now)
	m.check(may, "a request for %s %s through a closed gate, or too soon after the last: %v", r.key, r.claims, m.views)
	s := &modelShot{request: r, flight: f, closings: m.closings, ends: now.Add(min(r.latency, modelTimeout)),
		lateAt: now.Add(max(time.Second, min(2*m.latency, 5*time.Second)))}
	f.hedged = len(f.shots) > 0
	f.shots, m.underway = append(f.shots, s), append(m.underway, s)
	m.last, f.tried, f.untried = now, now, false
	f.perhaps = slices.ContainsFunc(f.callers, func(c *modelCall) bool { return c != f.owner && c.joined.Equal(now) })
}

// overdue checks that all who may send have, the earliest deadline first.
func (m *model) overdue(now time.Time, sent []*modelRequest) {
	for _, f := range m.flights {
		_, most, ok := m.wants(now, f)
		if !ok || now.Before(most) {
			continue
		}
		m.markLate(now, 1)
		_, must := m.admits(now)
		m.check(!must, "a request for %s %s wasn't sent: %v, the last request at %s", f.owner.key, f.claims, m.views, shortTime(m.last))
		for _, r := range sent {
			other := m.places[r.key].flights[r.claims]
			m.check(other == nil || !most.Before(now) || !f.began.Before(now) || !other.earliest(now).After(f.rank(now)),
				"a request for %s %s went before that for %s %s, which has the earlier deadline %s and rests until %s",
				r.key, r.claims, f.owner.key, f.claims, shortTime(f.rank(now)), shortTime(most))
		}
	}
}

// rank is the deadline by which a flight is served. Who has come just now doesn't count.
func (f *modelFlight) rank(now time.Time) time.Time {
	rank := f.made.Add(3 * time.Minute)
	if now.Before(f.keep) {
		rank = earlier(rank, f.keep)
	}
	for _, c := range f.callers {
		deadline := c.deadline
		if deadline.IsZero() {
			deadline = c.joined.Add(3 * time.Minute)
		}
		if c.joined.Before(now) {
			rank = earlier(rank, deadline)
		}
	}
	return rank
}

// earliest is the rank that a flight may have had, of whoever of its callers it is, and though its token has expired
// meanwhile.
func (f *modelFlight) earliest(now time.Time) time.Time {
	rank := f.rank(now.Add(1))
	for _, c := range append([]*modelCall{f.owner}, f.callers...) {
		rank = earlier(rank, c.began.Add(3*time.Minute))
	}
	for _, c := range f.guests {
		if c.joined.Equal(now) && !c.deadline.IsZero() {
			rank = earlier(rank, c.deadline)
		}
	}
	if !f.keep.IsZero() {
		rank = earlier(rank, f.keep)
	}
	return rank
}

func (m *model) drop(s *modelShot) {
	s.gone = true
	m.underway = slices.DeleteFunc(m.underway, func(other *modelShot) bool { return other == s })
}

func (m *model) cancel(f *modelFlight) {
	for _, s := range f.shots {
		m.drop(s)
	}
	f.shots = nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
