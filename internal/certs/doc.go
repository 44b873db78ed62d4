// Package certs reads certificates with their private keys, and signs client assertions with them.
//
// It promises that no error quotes a key or a password, and that it signs an assertion only with the key of the
// certificate.
package certs
