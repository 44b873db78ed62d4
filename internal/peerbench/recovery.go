package main

import (
	"slices"
	"testing"
)

const recoveryTitle = "Recovery"

const recoveryNote = `Endpoints that fail, and then work again, in fake time. Each credential is that of a new process.
A patient caller has no deadline. A figure is the worst of 30 draws; where there are two, the median stands before it.
azidentity has three draws where there are 1,000 scopes, since they fill MSAL's cache, which makes it slow. There is one
draw of processor time, which depends on the machine's other load, of clocks and odd times, and of bytes kept.

azidentity's client secret credential holds a mutex during its requests, which would stop fake time. Its callers queue
before it instead, with the same effect. MSAL's requests for Entra's metadata are answered at once, and not counted.

Outages: one call a second with a deadline of 5 s, for a scope without a token, or whose token ended just before. The
endpoint has answered before. A figure for each length.

Random outages: 12 scopes and 40 seeds of ten minutes, in which healthy times of 10 to 60 s and outages of 1 to 60 s
take turns. The outages are of nine kinds: 500, 502, 503 with ` + "`Retry-After: 2`" + `, 429 with and without one,
404 or 410 (at IMDS), refused, reset, no connection. Tokens live for 20 s to 7 minutes. There are about three calls a
second, with a deadline of 5 s. Judged are those that begin two seconds or more after an outage's end, and at least five
before the next. A lost answer follows a connection.

Elsewhere, a lost request has no connection in every other draw, and a connection without an answer in the others.
A transport that panics does so in a service in a process of its own, three times. Bytes kept: the heap that 2,000 of
each leave, after hours and some more tokens.`

// recovery returns the answered calls of each second; see around.
func recovery(t *testing.T, out *table, o options) map[string]sample {
	s := out.section(recoveryTitle, o.noted(recoveryNote), rivals...)
	processorTime(t, s) // before others fill the heap
	oddTimes(t, s)
	chains(t, s, o.draws(30))
	transportPanics(t, s, o.draws(3))
	stuck(t, s, o.draws(30))
	for _, host := range hosts {
		outages(t, s, host, o.draws(30))
		storms(t, s, host, o.draws(40))
		asked(t, s, host, o.draws(30))
		lost(t, s, host, o.draws(30))
		quiet(t, s, host, o.draws(30))
		closes(t, s, host, o.draws(30))
		challenges(t, s, host, o.draws(30))
	}
	unasked(t, s, o.draws(30))
	crowdsInOutage(t, s, o.draws(30))
	swamp(t, s, o.draws(30))
	kept(t, s)
	seen := around(t, o.draws(30))
	// these come last, since they fill MSAL's cache, which makes it slow
	leavers(t, s, o.draws(30))
	besides(t, s, o.draws(30))
	return seen
}

// draws is how many of a figure's draws are made.
func (o options) draws(whole int) int {
	if o.short {
		return min(whole, 3)
	}
	return whole
}

// noted says in a section's note that its draws are few.
func (o options) noted(note string) string {
	if o.short {
		return note + "\n\nThis run is a short one, with three draws at most."
	}
	return note
}

// figures are what each draw found, by library.
type figures[T any] map[string][]T

// compare makes n draws of each library.
func compare[T any](t *testing.T, n int, draw func(library string, i int) T) figures[T] {
	return compareFew(t, n, n, draw)
}

// compareFew makes fewer of azidentity, where MSAL's cache makes them slow.
func compareFew[T any](t *testing.T, n, few int, draw func(library string, i int) T) figures[T] {
	all := figures[T]{}
	for library, n := range map[string]int{ours: n, theirs: min(n, few)} {
		found := make([]T, n)
		draws(t, n, func(i int) { found[i] = draw(library, i) })
		all[library] = found
	}
	return all
}

// worst puts the greatest of the draws into the row.
func worst[T any](r *row, all figures[T], format string, of func(T) float64) {
	for library, found := range all {
		most := of(found[0])
		for _, f := range found {
			most = max(most, of(f))
		}
		r.set(library, most, format, most)
	}
}

// middle puts the median into the row, and the greatest in brackets.
func middle[T any](r *row, all figures[T], format string, of func(T) float64) {
	for library, found := range all {
		var values sample
		for _, f := range found {
			values = append(values, of(f))
		}
		r.set(library, values.median(), format+" ("+format+")", values.median(), slices.Max(values))
	}
}

// sum puts the sum of the draws into the row, and how many there were.
func sum[T any](r *row, all figures[T], of func(T) int) {
	for library, found := range all {
		n := 0
		for _, f := range found {
			n += of(f)
		}
		r.set(library, float64(n), "%d of %d", n, len(found))
	}
}
