// Package gate decides when a request may be sent to an endpoint, for all who use it in the process.
//
// It promises:
//
//   - While a pause lasts that the endpoint asked for, nobody sends. When it ends, all who wait may go on at once: the
//     gate alone decides the pause.
//   - The endpoint's limits are kept: requests under way at once, and in any second.
//   - After a pause, or before the endpoint has answered for the first time, requests grow 1, 2, 4, … with the good
//     answers.
//   - While the endpoint fails, all its users together try it about once a second, and up to five seconds apart where
//     nobody new comes.
//   - Who waits is served by deadline, the earliest first. A place costs O(log n), and who leaves frees it at once.
//   - A request that has no answer for a second does not hold up the others, and none keeps its place for ever.
//   - It tells whether anybody is there (see [Status]).
//
// The parts: a [Gate] belongs to one endpoint. A [Ticket] stands for one request for a token, however many callers
// wait for it and however many tries it takes. A [Turn] is the right to send one request, taken with [Ticket.Enter]
// and given back with [Turn.End].
//
// The rules are a pure state machine (machine.go, admit.go, turn.go, presence.go): events and the time go in, turns and the time of the
// next look come out. It has no goroutine and takes no lock.
//
// Locks: Gate.mu guards the machine, and with it every field of tickets and turns. No other lock is taken and no
// foreign code runs under it. Callers may hold locks of their own, but need not: no method of this package calls
// back.
//
// Nothing here is text for a person: what is wrong comes out as values ([Closed], [ErrAbandoned], [Absence],
// [Waiting]), of which the caller makes errors.
package gate
