// Package tokens says whether there is a token, whether it is due, and who fetches it.
//
// It promises:
//
//   - A token is returned until it expires, by the wall clock or by the monotonic one, and never later.
//   - A token is refreshed in time, while callers go on with it. Only with less than two minutes left do they wait, for
//     two seconds at most.
//   - However many callers want a token, one flight is under way for it. All who wait get its result.
//   - A definite refusal is repeated for a second.
//   - A cache hit takes no lock and allocates nothing.
//
// The parts: a [Token] is immutable, and its methods are pure functions of the token and the time. A [Set] has the
// tokens of one identity, with an [Entry] for each scope. A [Flight] is one request for a token, with its own
// goroutine, context and time limit. What it does is a [Request], which the user of this package implements.
//
// Locks: Entry.mu guards the flights and the refusals of one entry. Set.mu guards the list of a set's entries. A holder
// of Set.mu may take an Entry.mu, never the other way round. No method of a Request is called under either lock, except
// Claims, which returns a constant.
package tokens
