package gate

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// scenes are where the exploration begins.
var scenes = []struct {
	name   string
	events []event
}{
	{"new endpoint", nil},
	{"answered twice", []event{{arrives, 0}, {good, 0}, {arrives, 0}, {good, 0}}},
	{"failing", []event{{arrives, 0}, {failed, 0}, {rests, 0}}},
	// One request from before a pause is under way when it is over.
	{"opened", []event{{arrives, 0}, {good, 0}, {arrives, 0}, {arrives, 1}, {paused, 0}, {kind: ticks}}},
}

// TestMachine_everyOrderOfEvents sees that all promises are kept in every state, up to a number of states: those first
// that the shortest orders of events lead to.
func TestMachine_everyOrderOfEvents(t *testing.T) {
	alone := []kind{joins, leaves, goes, canceled} // each ticket has the same one caller all the time
	for _, test := range []struct {
		name    string
		config  Config
		tickets int
		without []kind
		states  int
	}{
		{"two places, three a second, four tickets", Config{Parallel: 2, PerSecond: 3}, 4, nil, 300_000},
		{"two places, three a second, two tickets", Config{Parallel: 2, PerSecond: 3}, 2, nil, 150_000},
		{"two places, three a second, three tickets alone", Config{Parallel: 2, PerSecond: 3}, 3, alone, 150_000},
		{"one place, two tickets", Config{Parallel: 1}, 2, nil, 100_000},
		{"one place, two tickets alone", Config{Parallel: 1}, 2, alone, 100_000},
		{"two a second, two tickets", Config{PerSecond: 2}, 2, nil, 100_000},
		{"no limits, four tickets", Config{}, 4, nil, 100_000},
		{"no limits, two tickets alone", Config{}, 2, alone, 100_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := test.states
			if testing.Short() || raceEnabled {
				n /= 25
			}
			x := explorer{config: test.config, tickets: test.tickets, without: test.without}
			fault, depth := x.run(n)
			require.Empty(t, fault)
			t.Logf("%d states, all orders of up to %d events", len(x.nodes), depth)
		})
	}
}

// explorer goes through the states breadth-first, so that the order that leads to a fault is the shortest.
type explorer struct {
	config  Config
	tickets int
	without []kind
	nodes   []node
	seen    map[uint64]struct{}

	from  int32 // the node whose world parent is
	world *world
}

// node is a state: the last event of the order that leads to it.
type node struct {
	parent int32 // -1: a scene
	scene  uint8
	depth  uint8
	event  event
}

// run visits n states. depth is up to where it has seen all.
func (x *explorer) run(n int) (fault string, depth int) {
	x.from, x.seen = -1, make(map[uint64]struct{}, n)
	for i := range scenes {
		if w := x.begin(i); w != nil {
			if w.fault != "" {
				return x.path(node{parent: -1, scene: uint8(i)}) + " ⇒ " + w.fault, 0
			}
			x.seen[w.digest()] = struct{}{}
			x.nodes = append(x.nodes, node{parent: -1, scene: uint8(i)})
		}
	}
	for i := 0; i < len(x.nodes); i++ {
		w := x.at(int32(i))
		for _, e := range w.events() {
			if slices.Contains(x.without, e.kind) {
				continue
			}
			c := w.clone()
			c.apply(e)
			d := c.digest()
			if _, known := x.seen[d]; known && c.fault == "" {
				continue
			}
			at := node{int32(i), x.nodes[i].scene, x.nodes[i].depth + 1, e}
			if c.fault == "" && (at.depth < 5 || d%3 == 0) {
				c.fault = c.recovers()
			}
			if c.fault != "" {
				return x.path(at) + " ⇒ " + c.fault, 0
			}
			if x.seen[d] = struct{}{}; len(x.nodes) == n {
				return "", int(at.depth) - 1
			}
			x.nodes = append(x.nodes, at)
		}
	}
	return "", int(x.nodes[len(x.nodes)-1].depth)
}

// begin makes the world of a scene; nil where these limits don't allow it.
func (x *explorer) begin(scene int) *world {
	w := newWorld(x.config, x.tickets)
	for _, e := range scenes[scene].events {
		if !slices.Contains(w.events(), e) {
			return nil
		}
		w.apply(e)
	}
	return w
}

// at makes the world of a node again, from its parent's.
func (x *explorer) at(i int32) *world {
	n := x.nodes[i]
	if n.parent < 0 {
		return x.begin(int(n.scene))
	}
	if x.from != n.parent {
		x.world, x.from = x.at(n.parent), n.parent
	}
	w := x.world.clone()
	w.apply(n.event)
	return w
}

// path names the events that lead to a node.
func (x *explorer) path(n node) string {
	var events []event
	for ; n.depth > 0; n = x.nodes[n.parent] {
		events = append(events, n.event)
	}
	slices.Reverse(events)
	w, names := newWorld(x.config, x.tickets), []string(nil)
	for _, e := range append(slices.Clone(scenes[n.scene].events), events...) {
		names = append(names, w.name(e))
		w.apply(e)
	}
	return strings.Join(names, "; ")
}

// recovers lets the endpoint be healthy from now on. It says if somebody isn't served in time, whether what is under
// way ends or is lost.
func (w *world) recovers() (fault string) {
	for _, lost := range []bool{false, true} {
		c := w.clone()
		if fault := c.recover(lost); fault != "" {
			return fault
		}
	}
	return ""
}

// maxRecovery is how long after the end of the pause those are served who want a turn now, and after the end of the
// last rest all. A request may be due in five seconds, and the limits cost some more.
const maxRecovery = 6 * time.Second

func (w *world) recover(lost bool) string {
	first := slices.Clone(w.m.ready.items)
	soon := later(w.now, w.m.opens).Add(maxRecovery)
	all := soon
	for _, t := range w.m.resting.items {
		all = later(all, t.rest.Add(maxRecovery))
	}
	old := len(w.held)
	if !lost {
		old = 0
	}
	for range 100 {
		for i := len(w.held) - 1; i >= 0; i-- {
			switch {
			case i >= old:
				w.end(i, Outcome{Kind: Good})
			case w.held[i].evicted:
				w.end(i, Outcome{Kind: Canceled})
				old--
			}
		}
		before := len(w.held)
		w.settle()
		switch {
		case w.fault != "":
			return w.fault + ", from when the endpoint is healthy"
		case len(w.held) > before || slices.ContainsFunc(w.held, func(h held) bool { return h.evicted }):
		case w.m.ready.len()+w.m.resting.len() == 0:
			return ""
		case w.wake.IsZero():
			return "it waits for ever though the endpoint is healthy"
		case w.wake.After(all), w.wake.After(soon) && slices.ContainsFunc(first, waits):
			return "it isn't served in time though the endpoint is healthy"
		default:
			w.now = w.wake
		}
	}
	return "the machine is busy for ever"
}

func waits(t *Ticket) bool { return t.state == ready }

// digest is the same for states that can't be told apart: times count from now, and what was long ago all the same.
func (w *world) digest() uint64 {
	m, s := &w.m, &w.seen
	d := digest(1)
	d.time(w.now, m.opens, m.last, m.answered, w.wake, s.opens, s.latest, s.answered, s.last)
	d.bools(m.closed, s.failing, s.failed)
	d.number(int64(m.backOff), int64(m.window), int64(m.steady), int64(m.good), int64(min(m.failures, 9)), int64(m.untried),
		int64(m.latency), int64(min(s.goods, 9)))
	d.time(w.now, s.ended...)
	d.number(int64(len(s.ended)))
	for _, h := range w.held {
		d.number(int64(h.ticket.number))
		d.time(w.now, h.began, h.lateAt)
		d.bools(h.Turn.late, h.late, h.evicted, h.Turn.closings == m.closings, h.closings == s.closings,
			h.began.Before(s.heard), h.began.After(m.heard), h.began.Equal(m.heard))
	}
	for i, t := range w.tickets {
		if t == nil {
			d.number(-1)
			continue
		}
		d.number(int64(t.state), int64(t.onWire), int64(t.waiters.len()))
		d.bools(t.untried, t.early, t.abandoned, s.came[i], s.woken[i], s.rested[i])
		d.time(w.now, t.tried, t.rest, t.limit)
		for _, who := range t.waiters.items {
			d.number(who.deadline.Sub(epoch).Nanoseconds())
		}
	}
	return uint64(d)
}

type digest uint64

func (d *digest) number(all ...int64) {
	for _, n := range all {
		*d = (*d ^ digest(n)) * 0x9E3779B97F4A7C15
		*d ^= *d >> 29
	}
}

func (d *digest) time(now time.Time, all ...time.Time) {
	for _, t := range all {
		d.number(int64(max(t.Sub(now), -7*time.Second)))
	}
}

func (d *digest) bools(all ...bool) {
	n := int64(1)
	for _, b := range all {
		if n <<= 1; b {
			n++
		}
	}
	d.number(n)
}
