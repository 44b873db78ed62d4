package main

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

const (
	callers   = 200
	resources = 20

	swarm          = 300 // calls that start and leave together
	swarmResources = 200 // at managed identities
)

// The random number streams of a seed. One goroutine reads each stream, so its numbers do not depend on other
// goroutines.
const (
	suspensionStream = iota
	imdsStream
	entraStream
	badTransportStream
	swarmStream
	droppedStream
	callerStream             // one stream for each caller from here
	warmStream   = 1_000_000 // likewise
)

func stream(seed, number uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, number)) }

// between returns a random duration in whole milliseconds.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64((most-least)/time.Millisecond)+1))*time.Millisecond
}

// nextSuspension returns when the process is suspended next, and for how long.
func nextSuspension(r *rand.Rand) (after, length time.Duration) {
	after, length = between(r, 3*time.Second, 20*time.Second), between(r, 50*time.Millisecond, time.Second)
	if r.IntN(4) == 0 {
		length *= 4
	}
	return after, length
}

// ending is how the context of a call ends.
type ending int

const (
	endless    ending = iota // never
	deadline                 // at a deadline
	cancelling               // by cancellation
)

// plan is the next call of a goroutine.
type plan struct {
	pause      time.Duration
	credential credentialKind
	resource   int
	ending     ending
	after      time.Duration // until the deadline or the cancellation; zero: before the call
}

// next returns the next plan of a caller.
func next(r *rand.Rand) plan {
	p := plan{
		pause:      between(r, 0, 400*time.Millisecond),
		credential: credentialKind(r.IntN(int(credentialKinds))),
		resource:   r.IntN(resources),
		ending:     []ending{endless, deadline, deadline, deadline, cancelling}[r.IntN(5)],
	}
	scales := []time.Duration{1, 5 * time.Millisecond, 100 * time.Millisecond, 2 * time.Second, 20 * time.Second}
	longest := scales[r.IntN(len(scales))]
	p.after = time.Duration(r.Int64N(int64(longest)))
	return p
}

// nextSwarm returns when the next swarm starts, and the plan of its calls.
func nextSwarm(r *rand.Rand) (after time.Duration, p plan) {
	p.credential = credentialKind(r.IntN(int(credentialKinds)))
	p.after = between(r, 50*time.Millisecond, 500*time.Millisecond)
	return between(r, 5*time.Second, 20*time.Second), p
}

// fingerprint identifies a schedule. It is a hash of the beginning of the streams.
func fingerprint(seed uint64) string {
	h := fnv.New64a()
	imds, entra, pauses := stream(seed, imdsStream), stream(seed, entraStream), stream(seed, suspensionStream)
	fmt.Fprintln(h, firstPhases(imds), firstPhases(entra))
	for i := range uint64(callers) {
		after, length := nextSuspension(pauses)
		fmt.Fprintln(h, nextPhases(imds), nextPhases(entra), after, length, next(stream(seed, callerStream+i)))
	}
	return fmt.Sprintf("%x", h.Sum64())
}
