// Package tokens answers: is there a token, is it due, and who fetches it?
//
// It promises:
//
//   - A token is handed out until it expires, by the wall clock and by the monotonic one, and never after.
//   - It is refreshed in time, behind the callers' backs; only with less than two minutes left do they wait, two
//     seconds at most.
//   - However many ask for one token, one flight is under way for it. All who wait get its result.
//   - A definite refusal is repeated for a second.
//   - A hit takes no lock and allocates nothing.
//
// The parts: a [Token] is immutable, and its methods are pure functions of it and the time. A [Set] has the tokens of
// one identity, an [Entry] for each scope. A [Flight] is one request for a token, in a goroutine and with a context
// and a limit of its own. What it does is a [Request], which the package's user implements.
//
// Locks: Entry.mu guards the flights and the refusals of one entry, Set.mu the list of a set's entries. Who has
// Set.mu may take an Entry.mu, never the other way round. No method of a Request is called under either, but for
// Claims, which returns a constant.
package tokens
