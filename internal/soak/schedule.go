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

	swarm          = 300 // calls that begin and leave together
	swarmResources = 200 // at managed identities
)

// The streams of random numbers of one seed. Each is read by one goroutine, so that its numbers don't depend on the
// others.
const (
	suspensionStream = iota
	imdsStream
	entraStream
	guestStream
	swarmStream
	droppedStream
	callerStream             // and those behind it
	warmStream   = 1_000_000 // likewise
)

func stream(seed, number uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, number)) }

// between returns a time at random, in milliseconds.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64((most-least)/time.Millisecond)+1))*time.Millisecond
}

// nextSuspension is when the process is suspended next, and for how long.
func nextSuspension(r *rand.Rand) (after, length time.Duration) {
	after, length = between(r, 3*time.Second, 20*time.Second), between(r, 50*time.Millisecond, time.Second)
	if r.IntN(4) == 0 {
		length *= 4
	}
	return after, length
}

type patience int

const (
	endless  patience = iota // a context without end
	deadline                 // one with a deadline
	leaving                  // one that is cancelled
)

// plan is what a goroutine does next.
type plan struct {
	pause      time.Duration
	credential credentialKind
	resource   int
	patience   patience
	after      time.Duration // until the deadline or the cancellation; zero: it has ended before the call
}

func next(r *rand.Rand) plan {
	p := plan{
		pause:      between(r, 0, 400*time.Millisecond),
		credential: credentialKind(r.IntN(int(credentialKinds))),
		resource:   r.IntN(resources),
		patience:   []patience{endless, deadline, deadline, deadline, leaving}[r.IntN(5)],
	}
	scales := []time.Duration{1, 5 * time.Millisecond, 100 * time.Millisecond, 2 * time.Second, 20 * time.Second}
	longest := scales[r.IntN(len(scales))]
	p.after = time.Duration(r.Int64N(int64(longest)))
	return p
}

// nextSwarm is when many calls come at once, from whom, and how long each stays.
func nextSwarm(r *rand.Rand) (after time.Duration, p plan) {
	p.credential = credentialKind(r.IntN(int(credentialKinds)))
	p.after = between(r, 50*time.Millisecond, 500*time.Millisecond)
	return between(r, 5*time.Second, 20*time.Second), p
}

// fingerprint tells schedules apart, by the beginning of each stream.
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
