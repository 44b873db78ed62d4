// Package managedidtest emulates the endpoints from which a program on an Azure host gets its tokens, in the manner of
// net/http/httptest: the metadata service of virtual machines (IMDS), the endpoint of App Service, Functions and Container
// Apps, the agent of Azure Arc, those of Cloud Shell, of Azure ML and of Service Fabric's nodes, and Entra itself, which sells
// tokens to applications for a client secret, for an assertion signed with a certificate's key, for the token of a service
// account, as in a pod of Kubernetes with workload identity, or for a managed identity's.
//
// [NewServer] listens on loopback. [Emulator.Setenv] points a test's environment at it:
//
//	srv := managedidtest.NewServer(nil)
//	defer srv.Close()
//	srv.Setenv(t, managedidtest.AppService)
//	// … the code under test asks for a token …
//	require.Len(t, srv.Requests(), 1)
//
// Entra's endpoints are there over TLS only; [Server.Client] trusts their certificate:
//
//	srv.Setenv(t, managedidtest.Workload) // with a token file, which Emulator.NewTokenFile makes and rotates
//	options.Transport = srv.Client()
//
// [New] makes an emulator without sockets and goroutines. It is a transport for Azure SDK clients and for net/http, and
// works inside testing/synctest bubbles, where its delays, limits and expiries follow the bubble's clock:
//
//	em := managedidtest.New(nil)
//	options.Transport = em // or &http.Client{Transport: em}
//
// A request for a token that a credential of managedid has begun goes on for up to three minutes when its caller has left. Where a
// test in a bubble lets one leave, it sleeps so long at its end, or the bubble says "deadlock":
//
//	defer time.Sleep(3 * time.Minute) // of the bubble's clock, so at once
//
// Faults are scripted with [Emulator.Inject]. Tokens are signed JWTs with made-up content: [VerifyToken] and
// [Server.NewResource] check them as an API would, as does [Server.NewKeyVault], which has secrets; no real service accepts them.
package managedidtest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure an emulator. Nil, and every zero field, mean the defaults.
type Options struct {
	// TenantID is the tenant of all identities and applications. Zero: a fixed made-up GUID.
	TenantID string

	// SystemAssigned is the host's system-assigned identity. Zero: one with made-up IDs.
	SystemAssigned *Identity

	// NoSystemAssigned makes a host without a system-assigned identity. SystemAssigned is then ignored.
	NoSystemAssigned bool

	// UserAssigned are the host's user-assigned identities. Zero: none.
	UserAssigned []Identity

	// Applications are registered in Entra. Zero: one with made-up values.
	Applications []Application

	// OtherTenants are tenants besides TenantID in which the applications have a service principal too. Zero: none.
	OtherTenants []string

	// KeyDir is the directory of Azure Arc's key files; Setenv and MakeKeyDir make it. Zero: the agent's own, the only one
	// from which clients take a key: /var/opt/azcmagent/tokens, or on Windows %ProgramData%\AzureConnectedMachineAgent\Tokens.
	KeyDir string

	// ArcIgnoresIDs makes Azure Arc's agent one without user-assigned identities: whichever identity is asked for, it gives the
	// system-assigned one's token.
	ArcIgnoresIDs bool

	// WindowsDates makes expires_on in App Service's api-version 2017-09-01 a date as on Windows, "1/16/2020 5:24:12 AM +00:00".
	// Zero: as on Linux, "01/16/2020 05:24:12 +00:00".
	WindowsDates bool

	// TokenLifetime is the life of a new token, in whole seconds. Zero: one hour. A negative one makes tokens that have
	// expired already. The endpoints of managed identities keep a token, as Azure's do, and give it again while it has ten minutes
	// left, or half its life if that is less.
	TokenLifetime time.Duration

	// Addr is the TCP address that a [Server] listens on in clear; [New] ignores it. Over TLS it listens on any free port of
	// the same host. Zero: "127.0.0.1:0", any free port.
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

	// AuthorityHost is Entra's address, with a slash at the end: "https://login.microsoftonline.com/", or that of a [Server].
	AuthorityHost string

	s *state
}

// Format prints the addresses alone for every verb of package fmt: no secret, no token, no log.
func (e Emulator) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "{%s %s}", e.URL, e.AuthorityHost) }

// state is all that an Emulator keeps to itself.
type state struct {
	options Options
	tokens  tokenCache
	keys    *arcKeys
	node    fabricNode

	revoked   atomic.Pointer[revocation]            // the last; nil: there was none
	refusal   func()                                // called after faults have changed; nil without sockets
	newProxy  func(dir string) (*TokenProxy, error) // nil without sockets
	listening bool                                  // whether refusing is the listener's part, set before the first request

	mu        sync.Mutex // guards all below
	system    *Identity  // immutable, as users are; nil: none
	users     []Identity
	secret    string
	tokenFile string      // the last one's path; zero: none was made
	certFile  string      // likewise
	proxy     *TokenProxy // likewise

	applications []Application // of which CertificateFile replaces the first's Certificates, and all else stays

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
	s.keys = newArcKeys(s.options.KeyDir)
	s.node = fabricNode{"https://localhost:2377", thumbprintOf([]byte("no certificate"))}
	s.applications = applications(s.options.Applications)
	s.options.OtherTenants = slices.Clone(s.options.OtherTenants)
	s.tokens = newTokenCache(s.options.TenantID, s.options.TokenLifetime)
	return &Emulator{URL: "http://169.254.169.254", AuthorityHost: "https://login.microsoftonline.com/", s: s}
}

// TenantID returns the tenant of all identities and applications.
func (e *Emulator) TenantID() string { return e.s.options.TenantID }

// SystemAssigned returns the system-assigned identity with all its IDs, or the zero Identity if there is none.
func (e *Emulator) SystemAssigned() Identity {
	system, _ := e.s.identities()
	if system == nil {
		return Identity{}
	}
	return *system
}

// UserAssigned returns the user-assigned identities with all their IDs, in the order of [Options].
func (e *Emulator) UserAssigned() []Identity {
	_, users := e.s.identities()
	return slices.Clone(users)
}

// Applications returns the applications with all their values, in the order of [Options].
func (e *Emulator) Applications() []Application {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	all := slices.Clone(e.s.applications)
	for i, a := range all {
		all[i] = a.clone()
	}
	return all
}

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
