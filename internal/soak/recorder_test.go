package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newTestRecorder returns a recorder without stalls for the next hour.
func newTestRecorder() *recorder {
	return newRecorder(&stalls{last: time.Now().Add(time.Hour)}, &violations{count: map[string]int{}})
}

func TestRecorder_hedges(t *testing.T) {
	const early, third = "one request for a key, but after silence", "two requests for a key at most"
	const half, three = unconnected, silent
	tooEarly, tooMany := map[string]int{early: 1}, map[string]int{third: 1}
	for name, tt := range map[string]struct {
		credential  credentialKind
		connected   bool
		cancelFirst bool
		at          []time.Duration // start of the further requests
		want        map[string]int
	}{
		"at once":                                 {at: []time.Duration{0}, want: tooEarly},
		"at IMDS after half a second":             {at: []time.Duration{half}},
		"before, when the first was cancelled":    {at: []time.Duration{0}, cancelFirst: true},
		"at IMDS, connected":                      {at: []time.Duration{half}, connected: true, want: tooEarly},
		"at IMDS, connected, after three seconds": {at: []time.Duration{three}, connected: true},
		"at Entra after half a second": {credential: application, at: []time.Duration{half},
			want: tooEarly},
		"at Entra after three seconds": {credential: application, at: []time.Duration{three}},
		"a third":                      {at: []time.Duration{three, 2 * three}, want: tooMany},
		"a third in the place of a cancelled first": {at: []time.Duration{three, 2 * three}, cancelFirst: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestRecorder()
			k, now := key{credential: tt.credential, resource: "r"}, time.Now()
			d := r.gates[k.credential.endpoint()]
			d.good = growthLimit
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			first := r.begin(now, k, d, ctx)
			first.connected.Store(tt.connected)
			if tt.cancelFirst {
				cancel()
			}
			for _, after := range tt.at {
				r.begin(now.Add(after), k, d, t.Context())
			}
			if tt.want == nil {
				tt.want = map[string]int{}
			}
			require.Equal(t, tt.want, r.counts())
		})
	}
}

func TestRecorder_excused(t *testing.T) {
	now, k := time.Now(), key{resource: "r"}
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	for name, tt := range map[string]struct {
		incidents []incident
		want      bool
	}{
		"nothing":                {},
		"a panic during it":      {[]incident{{key: k, panicked: true, from: at(2), to: at(2)}}, true},
		"a panic long before it": {[]incident{{key: k, panicked: true, from: at(-3), to: at(-3)}}, false},
		"another's panic":        {[]incident{{panicked: true, from: at(2), to: at(2)}}, false},
		"stuck once":             {[]incident{{key: k, from: at(1)}}, false},
		"stuck twice":            {[]incident{{key: k, from: at(1)}, {key: k, from: at(4), to: at(60)}}, true},
		"stuck twice, one over":  {[]incident{{key: k, from: at(-6), to: at(-1)}, {key: k, from: at(4)}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestRecorder()
			for _, i := range tt.incidents {
				r.note(i)
			}
			require.Equal(t, tt.want, r.excused(k, now, at(5)))
		})
	}
}
