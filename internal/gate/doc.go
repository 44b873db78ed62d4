// Package gate decides when a request may be sent to an endpoint, for all users of the endpoint in the process.
//
// It promises:
//
//   - During a pause that the endpoint asked for, nobody sends. When the pause ends, everyone who waits may go on at
//     once. Only the gate decides when that is.
//   - The endpoint's limits are kept: the number of requests under way, and the number of requests in any second.
//   - After a pause, and before the endpoint's first answer, the number of requests at once grows with each good
//     answer: 1, 2, 4, …
//   - While the endpoint fails, all its users together try it about once a second. Without new callers, the tries are
//     up to five seconds apart.
//   - Waiting tickets are served by deadline, the earliest first. A place costs O(log n), and a caller that leaves
//     frees it at once.
//   - A request without an answer for a second doesn't delay the others, and no request keeps its place forever.
//   - [Status] says whether the endpoint is there.
//
// The parts: a [Gate] belongs to one endpoint. A [Ticket] stands for one token request, however many callers wait for
// it and however many tries it takes. A [Turn] is the right to send one request. [Ticket.Enter] takes it, and
// [Turn.End] gives it back.
//
// The rules are a pure state machine (machine.go, admit.go, turn.go, presence.go). Its inputs are events and the time.
// Its outputs are turns and the time of the next step. It has no goroutine and takes no lock.
//
// Locks: Gate.mu guards the machine, and every field of tickets and turns. Under it, the package takes no other lock
// and calls no foreign code. Callers may hold their own locks, because no method of this package calls back.
//
// The package returns values ([Closed], [ErrAbandoned], [Absence], [Waiting]), from which its user makes the texts for
// people.
package gate
