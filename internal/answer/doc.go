// Package answer reads the answers of token endpoints: the token, the error, the pause that an answer asks for.
//
// It promises that it accepts no token whose expiry it can't read. It quotes nothing of a successful answer, and no
// secret of any answer. What a refusal means, and what to do about it, is up to each source.
package answer
