// Package managedidtest emulates the endpoints from which a program on an Azure host gets its tokens. It works like
// net/http/httptest. It emulates the metadata service of virtual machines (IMDS), the endpoint of App Service,
// Functions and Container Apps, the agent of Azure Arc, and the endpoints of Cloud Shell, Azure ML and Service Fabric.
// It also emulates Entra, which issues tokens to an application that has one of four credentials: a client secret, an
// assertion signed with a certificate's key, the token of a Kubernetes service account (workload identity), or the
// token of a managed identity.
//
// [NewServer] listens on loopback. [Emulator.Setenv] points a test's environment at it:
//
//	srv := managedidtest.NewServer(nil)
//	defer srv.Close()
//	srv.Setenv(t, managedidtest.AppService)
//	// … the code under test requests a token …
//	require.Len(t, srv.Requests(), 1)
//
// Entra's endpoints are served over TLS only. [Server.Client] trusts their certificate:
//
//	srv.Setenv(t, managedidtest.Workload) // with a token file; see Emulator.NewTokenFile
//	options.Transport = srv.Client()
//
// [New] makes an emulator without sockets and goroutines. It is a transport for Azure SDK clients and for net/http. It
// works inside testing/synctest bubbles, where its delays, limits and expiries follow the bubble's clock:
//
//	em := managedidtest.New(nil)
//	options.Transport = em // or &http.Client{Transport: em}
//
// A credential of managedid continues a token request for up to three minutes after its caller leaves. A test
// in a bubble whose caller leaves early must sleep that long at its end. Otherwise the bubble reports a deadlock:
//
//	defer time.Sleep(3 * time.Minute) // on the bubble's clock, so it takes no real time
//
// [Emulator.Inject] scripts faults. Tokens are signed JWTs with made-up content, and no real service accepts them.
// [VerifyToken], [Server.NewResource] and [Server.NewKeyVault], which serves secrets, check them as an API does.
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

	// Applications are the applications registered in Entra. Zero: one with made-up values.
	Applications []Application

	// OtherTenants are further tenants in which every application has a service principal. Zero: none.
	OtherTenants []string

	// KeyDir is the directory of Azure Arc's key files. [Emulator.Setenv] and [Emulator.MakeKeyDir] create it. Zero:
	// the agent's directory, which is the only one that clients accept: /var/opt/azcmagent/tokens, or on Windows
	// %ProgramData%\AzureConnectedMachineAgent\Tokens.
	KeyDir string

	// ArcIgnoresIDs emulates an Azure Arc agent that does not support user-assigned identities. It answers every
	// request with a token of the system-assigned identity, whichever identity the request names.
	ArcIgnoresIDs bool

	// WindowsDates selects the format of expires_on in App Service's api-version 2017-09-01. True: as on Windows,
	// "1/16/2020 5:24:12 AM +00:00". Zero: as on Linux, "01/16/2020 05:24:12 +00:00".
	WindowsDates bool

	// TokenLifetime is the lifetime of a new token, in whole seconds. Zero: one hour. A negative value makes tokens
	// that have already expired. Like Azure, the endpoints of managed identities cache a token. They return it until it
	// has less than ten minutes left, or less than half its lifetime if that is shorter.
	TokenLifetime time.Duration

	// Addr is the TCP address on which a [Server] listens without TLS. The server listens with TLS on a free port of
	// the same host. [New] ignores Addr. Zero: "127.0.0.1:0", a free port.
	Addr string

	// OnRequest is called once for each logged request, in the goroutine that serves it. The answer is then known, but
	// the client has not received it yet. Several goroutines may call it at once. Optional.
	OnRequest func(Request)
}

// Emulator emulates the endpoints of one Azure host. It is safe for concurrent use. It is an [http.Handler], an
// [http.RoundTripper], and a transport for Azure SDK clients.
type Emulator struct {
	// URL is the base URL, of the form "http://host:port", with no trailing slash.
	URL string

	// AuthorityHost is the base URL of Entra, with a trailing slash: "https://login.microsoftonline.com/", or the HTTPS
	// address of a [Server].
	AuthorityHost string

	s *state
}

// Format implements [fmt.Formatter]. Every verb prints only the addresses, so no secret, token or log entry appears.
func (e Emulator) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "{%s %s}", e.URL, e.AuthorityHost) }

// state is the private state of an Emulator.
type state struct {
	options Options
	tokens  tokenCache
	keys    *arcKeys
	node    fabricNode

	// revoked is the latest revocation. Nil: there was none.
	revoked atomic.Pointer[revocation]

	// updateListeners applies a change of the faults to the listeners. Nil without sockets.
	updateListeners func()

	// newProxy is [Server.NewTokenProxy]. Nil without sockets.
	newProxy func(dir string) (*TokenProxy, error)

	// listening tells that the listeners refuse connections, so requests do not use up Refused faults. It is set before
	// the first request.
	listening bool

	mu        sync.Mutex // guards all fields below
	system    *Identity  // immutable, like the elements of users; nil: none
	users     []Identity
	secret    string
	tokenFile string      // path of the latest token file; empty: none was made
	certFile  string      // path of the latest certificate file; empty: none was made
	proxy     *TokenProxy // the latest token proxy; nil: none was made

	// applications do not change, except that a CertificateFile replaces Certificates of the first one.
	applications []Application

	log    []*Request
	faults []*fault
	limits limiter
}

// New makes an emulator without sockets. Its URL is the address of the real metadata service, but no request leaves the
// process.
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

// JWKSURL returns the URL of the public keys that verify the emulator's tokens.
func (e *Emulator) JWKSURL() string { return e.URL + "/" + keysPath }

// Requests returns a copy of the log, oldest request first. The log holds every request that reached the emulator,
// including requests to unknown paths and requests that wait for a Delay. It does not hold refused connections. Once a
// client has its answer, the log entry of its request is complete.
func (e *Emulator) Requests() []Request {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	all := make([]Request, len(e.s.log))
	for i, r := range e.s.log {
		all[i] = r.clone()
	}
	return all
}
