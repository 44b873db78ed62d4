// Package conformance has the tests of what the library promises, from outside: which request each source gets and what comes
// of each answer and fault, that no secret comes out, that a host without an identity is known as such in time, that an
// endpoint is asked no more often than it allows, and that the pages of the repository are true. They use the public API and
// the emulator alone; how it is done is tested beside each package.
package conformance
