package main

import (
	"encoding/gob"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// parts are what -only selects. The last two run in processes of their own when they are not alone, since MSAL's cache
// grows for the life of a process: the others measure with a known number of tokens in it, and it makes azidentity
// slow.
var parts = []string{"hits", "callers", "refresh", "weight", "fleet", "recovery", "node"}

var apart = parts[5:]

func (o options) check() error {
	for part := range strings.SplitSeq(o.only, ",") {
		if part != "" && !slices.Contains(parts, part) {
			return fmt.Errorf("no part is called %q; there are %s", part, strings.Join(parts, ", "))
		}
	}
	return nil
}

func (o options) has(part string) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), part)
}

// measure runs the chosen parts, in the order that the caches need.
func (r *results) measure(t *testing.T, step func(string)) {
	o, together := r.options, false
	do := func(part, name string, f func()) {
		if o.has(part) {
			step(name)
			f()
			together = true
		}
	}
	var h *hits
	do("hits", "hits", func() {
		h = newHits(t, r.table, o)
		h.measure(t, sizes[:len(sizes)-1]...)
	})
	do("callers", "callers without a token", func() {
		r.requests = cold(t, r.table)
		throttled(t, r.table)
	})
	do("refresh", "refresh, outage, absent", func() {
		refresh(t, r.table)
		outage(t, r.table)
		absent(t, r.table)
	})
	do("hits", "hits among 10,000 tokens", func() {
		h.measure(t, sizes[len(sizes)-1])
		h.allocations()
	})
	do("weight", "weight", func() { weigh(t, r.table, o) })
	do("fleet", "fleet", func() { r.fleet = simulateFleet(t, r.table, o) })
	for _, part := range apart {
		if together || strings.Contains(o.only, ",") {
			do(part, part+", in another process", func() { r.measureApart(t, part) })
		}
	}
	if !together {
		do("recovery", "recovery", func() { r.around = recovery(t, r.table, o) })
		do("node", "a node of processes", func() { runNodes(t, r.table, o) })
	}
	step("done")
}

// measureApart runs a part in another process, and adds what that found.
func (r *results) measureApart(t *testing.T, part string) {
	self, err := os.Executable()
	require.NoError(t, err)
	command := exec.Command(self, "-packed", "-only", part, fmt.Sprintf("-short=%t", r.options.short))
	command.Stderr = os.Stderr
	found, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	failed := r.unpack(found)
	_, _ = io.Copy(io.Discard, found)
	require.NoError(t, command.Wait())
	require.NoError(t, failed)
}

// The packed types are those of the table.
type (
	packed struct {
		Sections []packedSection
		Around   map[string]sample
	}
	packedSection struct {
		Title, Note string
		Columns     []string
		Rows        []packedRow
	}
	packedRow struct {
		What   string
		Values map[string]float64
		Texts  map[string]string
		Goal   bool
		Most   float64
		Format string
	}
)

func (r *results) pack(w io.Writer) error {
	p := packed{Around: r.around}
	for _, s := range r.table.sections {
		section := packedSection{Title: s.title, Note: s.note, Columns: s.columns}
		for _, from := range s.rows {
			to := packedRow{What: from.what, Values: map[string]float64{}, Texts: map[string]string{}}
			for column, c := range from.cells {
				to.Values[column], to.Texts[column] = c.value, c.text
			}
			if from.goal != nil {
				to.Goal, to.Most, to.Format = true, from.goal.most, from.goal.format
			}
			section.Rows = append(section.Rows, to)
		}
		p.Sections = append(p.Sections, section)
	}
	return gob.NewEncoder(w).Encode(p)
}

func (r *results) unpack(from io.Reader) error {
	var p packed
	if err := gob.NewDecoder(from).Decode(&p); err != nil {
		return err
	}
	if p.Around != nil {
		r.around = p.Around
	}
	for _, s := range p.Sections {
		section := r.table.section(s.Title, s.Note, s.Columns...)
		for _, from := range s.Rows {
			to := section.row(from.What)
			for column, value := range from.Values {
				to.set(column, value, "%s", from.Texts[column])
			}
			if from.Goal {
				to.aim(from.Most, from.Format)
			}
		}
	}
	return nil
}
