// Package files reads small files that other programs replace: tokens, certificates, keys.
//
// It promises that it never waits for a pipe, that it reads no more than its limit, and that its errors say nothing
// about the content of a file.
package files
