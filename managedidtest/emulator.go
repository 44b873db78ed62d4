// Package managedidtest emulates the endpoints from which a program on an Azure host gets the tokens of its managed
// identity, in the manner of net/http/httptest: the metadata service of virtual machines (IMDS), and the endpoint of App
// Service, Functions and Container Apps.
//
// [NewServer] listens on loopback. [Emulator.Setenv] points a test's environment at it:
//
//	srv := managedidtest.NewServer(nil)
//	defer srv.Close()
//	srv.Setenv(t, managedidtest.AppService)
//	// … the code under test asks for a token …
//	require.Len(t, srv.Requests(), 1)
//
// [New] makes an emulator without sockets and goroutines. It is a transport for Azure SDK clients and for net/http, and
// works inside testing/synctest bubbles, where its delays, limits and expiries follow the bubble's clock:
//
//	em := managedidtest.New(nil)
//	options.Transport = em // or &http.Client{Transport: em}
//
// Faults are scripted with [Emulator.Inject]. Tokens are signed JWTs with made-up content: [VerifyToken] and
// [Server.NewResource] check them as an API would; no real service accepts them.
package managedidtest

import (
	"slices"
	"sync"
	"time"
)

// Endpoint names one emulated endpoint. In a [Fault], zero means any of them.
type Endpoint string

// The endpoints and their paths. A trailing slash, and other case, is accepted in each.
const (
	IMDS       Endpoint = "imds"       // /metadata/identity/oauth2/token
	AppService Endpoint = "appservice" // /msi/token
	Keys       Endpoint = "keys"       // /discovery/keys, the public keys of the tokens as a JSON Web Key Set
)

// Options configure an emulator. Nil, and every zero field, mean the defaults.
type Options struct {
	// TenantID is the tenant of all identities. Zero: a fixed made-up GUID.
	TenantID string

	// SystemAssigned is the host's system-assigned identity. Zero: one with made-up IDs.
	SystemAssigned *Identity

	// NoSystemAssigned makes a host without a system-assigned identity. SystemAssigned is then ignored.
	NoSystemAssigned bool

	// UserAssigned are the host's user-assigned identities. Zero: none.
	UserAssigned []Identity

	// TokenLifetime is the life of a new token, in whole seconds. Zero: one hour. A negative one makes tokens that have
	// expired already.
	TokenLifetime time.Duration

	// Addr is the TCP address that a [Server] listens on; [New] ignores it. Zero: "127.0.0.1:0", any free port.
	Addr string

	// OnRequest is called for each request that is logged, in the goroutine that serves it, when its answer is known and
	// before the client has it. It may be called by several goroutines at once. Optional.
	OnRequest func(Request)
}

// Emulator answers as the endpoints of one Azure host. It is safe for concurrent use. It is an [http.Handler], an
// [http.RoundTripper], and a transport for Azure SDK clients.
type Emulator struct {
	// URL is scheme and host, without a trailing slash.
	URL string

	s *state
}

// state is behind a pointer so that printing an Emulator shows neither secret nor tokens.
type state struct {
	options   Options
	system    *Identity // nil: none
	users     []Identity
	tokens    tokenCache
	refusal   func() // called after faults have changed; nil without sockets
	listening bool   // whether refusing is the listener's part, set before the first request

	mu     sync.Mutex // guards all below
	secret string
	log    []*Request
	faults []*fault
	limits limiter
}

// New makes an emulator without sockets. Its URL is that of the real metadata service; no request leaves the process.
func New(o *Options) *Emulator {
	s := &state{secret: newSecret()}
	if o != nil {
		s.options = *o
	}
	if s.options.TenantID == "" {
		s.options.TenantID = stableGUID("tenant")
	}
	if !s.options.NoSystemAssigned {
		system := systemAssigned(s.options.SystemAssigned)
		s.system = &system
	}
	s.users = userAssigned(s.options.UserAssigned)
	s.tokens = newTokenCache(s.options.TenantID, s.options.TokenLifetime)
	return &Emulator{URL: "http://169.254.169.254", s: s}
}

// TenantID returns the tenant of all identities.
func (e *Emulator) TenantID() string { return e.s.options.TenantID }

// SystemAssigned returns the system-assigned identity with all its IDs, or the zero Identity if there is none.
func (e *Emulator) SystemAssigned() Identity {
	if e.s.system == nil {
		return Identity{}
	}
	return *e.s.system
}

// UserAssigned returns the user-assigned identities with all their IDs, in the order of [Options].
func (e *Emulator) UserAssigned() []Identity { return slices.Clone(e.s.users) }

// JWKSURL returns the address of the tokens' public keys.
func (e *Emulator) JWKSURL() string { return e.URL + "/" + keysPath }

// Requests returns a copy of the log, oldest first. It holds every request that reached the emulator, also those to
// unknown paths and those that wait for a Delay, but no refused connection. A client that has its answer finds its
// request complete in the log.
func (e *Emulator) Requests() []Request {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	all := make([]Request, len(e.s.log))
	for i, r := range e.s.log {
		all[i] = r.clone()
	}
	return all
}
