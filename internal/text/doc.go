// Package text makes texts fit for one line that a person reads: in an error, a log record or a report.
//
// It promises that no secret that it knows and nothing that looks like a JWT gets into a line. A line has no line break
// and a bounded length. The package knows nothing of tokens or endpoints.
package text
