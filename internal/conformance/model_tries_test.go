package conformance

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/managedid/managedid"
)

// answered is the end of a request under way: what it says of the endpoint, then what it means to its flight.
func (m *model) answered(now time.Time, s *modelShot) {
	r, f := s.request, s.flight
	status := r.status
	silent := now.Before(r.at.Add(r.latency))
	if silent {
		status = 0 // none
	}
	older := len(f.shots) > 1 && f.shots[0] == s
	m.drop(s)
	m.failure = -1
	switch status {
	case 429, 503:
		m.failure = status
		m.answeredAt = now
		m.throttled(now, r.retryAfter, s.closings == m.closings)
	case 0, 500:
		m.failure = status
		lost := silent && m.answeredAt.After(r.at) // others have been answered since
		for i := range m.views {
			if v := &m.views[i]; !lost && (!s.late[i] || v.failing == 0) {
				v.fails()
			}
		}
	default:
		m.answeredAt = now
		m.latency = max(now.Sub(r.at), m.latency/2)
		m.recovered(now, s.closings == m.closings)
	}
	m.markLate(now, 0, 1)
	f.shots = slices.DeleteFunc(f.shots, func(other *modelShot) bool { return other == s })
	if status == 0 && len(f.shots) > 0 {
		f.changed = now
		if older && silent {
			m.outlived(now, f)
		}
		return // the other goes on
	}
	m.cancel(f)
	f.hedged = false
	m.tried(now, f, r, status)
}

// outlived: the older of two requests is lost, and the younger is the next try, or the last if there are no more.
func (m *model) outlived(now time.Time, f *modelFlight) {
	switch s := f.shots[0]; {
	case f.least >= m.retries:
		f.last = true
		s.ends = earlier(s.ends, later(now, s.request.at.Add(1500*time.Millisecond)))
	case f.most >= m.retries:
		m.unsure = true
	default:
		f.least, f.most = f.least+1, f.most+1
	}
}

// recovered: a good answer wakes those who rest, and lets one more go at once.
func (m *model) recovered(now time.Time, current bool) {
	failing := 0
	for i := range m.views {
		v := &m.views[i]
		if v.failing > 0 {
			failing++
			m.recoveries[i] = now
		}
		if v.failing = 0; current {
			v.window++
		}
	}
	if failing == 2 {
		m.wakeAll(now, false)
	}
	for _, f := range m.flights {
		if failing == 1 && len(f.shots) == 0 && now.Before(f.rest[1]) {
			f.mayWake(now)
		}
	}
}

// throttled closes the gate: for as long as asked, and up to a third longer, by three seconds at most.
func (m *model) throttled(now time.Time, pause time.Duration, current bool) {
	if !current && pause == 0 {
		return
	}
	m.views[0].failing, m.views[1].failing = 0, 0
	if current || !now.Before(m.opens) {
		m.closings++
		m.views = [2]modelView{{window: 1}, {window: 1}}
	}
	least, most := pause, pause+min(pause*3/10, 3*time.Second)
	if pause == 0 {
		least, most = time.Second, 5*time.Second
	}
	i := slices.IndexFunc(m.records, func(p modelPause) bool { return p.at.Equal(now) })
	if i < 0 {
		m.check(!now.Add(least).After(m.opens), "no record of a pause, or it isn't prolonged")
		return
	}
	until := m.records[i].until
	m.check(!until.Before(now.Add(least)) && !until.After(now.Add(most)), "a pause of %v instead of %v to %v", until.Sub(now), least, most)
	m.opens, m.closed = until, true
}

// tried is the end of a try.
func (m *model) tried(now time.Time, f *modelFlight, r *modelRequest, status int) {
	switch status {
	case 200:
		t := &modelToken{id: r.id, claims: r.claims, expires: r.expires, asked: f.began, number: f.number}
		if !t.valid(now) {
			m.land(now, f, nil, string(managedid.ReasonMalformedAnswer))
			return
		}
		if due := earlier(r.expires.Add(-5*time.Minute), r.refreshes); now.Before(due) {
			t.refresh(now, due.Sub(now))
		} else {
			t.pause(now)
		}
		m.land(now, f, t, "")
	case 400:
		m.land(now, f, nil, "refused")
	case 429, 503:
		if m.retries == 0 && status == 429 {
			m.land(now, f, nil, string(managedid.ReasonThrottled))
		} else if m.retries == 0 {
			m.land(now, f, nil, string(managedid.ReasonNotReady))
		} else { // which uses up no try
			m.rests(now, f, [2]time.Time{now, now})
		}
	default:
		m.failed(now, f)
	}
}

// failed: a try that somebody hastened doesn't count.
func (m *model) failed(now time.Time, f *modelFlight) {
	next := f.plan
	woken := (f.early || f.likely) && now.Before(f.plan[1])
	if !f.early || !now.Before(f.plan[0]) {
		if f.most++; !woken {
			f.least++
		}
		reason := m.failures[f.owner.key+now.Round(0).UTC().String()]
		if limit := f.began.Add(3 * time.Minute); reason == string(managedid.ReasonThrottled) && m.retries > 0 && m.opens.After(limit) {
			return // which limits says too
		}
		ended := m.retries == 0 || reason != ""
		for _, other := range f.place.flights { // whose the record is can't be known
			m.unsure = m.unsure || ended && other != f && other.tried.Equal(f.tried)
		}
		m.check(!ended || f.most > m.retries, "the tries for %s %s ended too early: %d to %d retries",
			f.owner.key, f.claims, f.least, f.most)
		m.check(ended || f.least <= m.retries, "the tries for %s %s don't end", f.owner.key, f.claims)
		if ended {
			m.land(now, f, nil, string(managedid.ReasonNotReady))
			return
		}
		least, most := modelDelay(max(1, f.least), 0.8), modelDelay(f.most, 1.3)
		next = [2]time.Time{earlier(now.Add(least), f.plan[0]), now.Add(most)}
		if !woken {
			next[0] = now.Add(least)
		}
	}
	m.rests(now, f, next)
}

func modelDelay(retries int, by float64) time.Duration {
	return time.Duration(0.8e9 * float64(int(1)<<retries-1) * by)
}

func (m *model) rests(now time.Time, f *modelFlight, plan [2]time.Time) {
	f.rest, f.plan, f.early, f.likely = plan, plan, false, f.perhaps
	if f.untried {
		f.wake(now, true)
	} else if f.perhaps {
		f.mayWake(now)
	}
	switch a, b := m.recoveries[0].After(f.tried), m.recoveries[1].After(f.tried); {
	case a && b:
		f.wake(now, false)
	case a || b:
		f.mayWake(now)
	}
}

// Handle notes the times that the library has drawn at random.
func (run *modelRun) Handle(_ context.Context, r slog.Record) error {
	of := map[string]slog.Value{}
	r.Attrs(func(a slog.Attr) bool { of[a.Key] = a.Value; return true })
	run.mu.Lock()
	defer run.mu.Unlock()
	switch r.Message {
	case "endpoint throttled":
		run.pauses = append(run.pauses, modelPause{r.Time, of["until"].Time()})
	case "token request failed", "token refresh failed":
		if run.failures == nil {
			run.failures = map[string]string{}
		}
		run.failures[of["scope"].String()+r.Time.Round(0).UTC().String()] = of["reason"].String()
	}
	return nil
}

func (run *modelRun) Enabled(context.Context, slog.Level) bool { return true }
func (run *modelRun) WithAttrs([]slog.Attr) slog.Handler       { return run }
func (run *modelRun) WithGroup(string) slog.Handler            { return run }
