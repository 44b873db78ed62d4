package managedidtest

import (
	"crypto/rand"
	"crypto/subtle"
	"crypto/x509"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Application is an application registered in Entra. It has a service principal in the emulator's tenant and in each of
// [Options].OtherTenants. Zero fields get made-up values.
type Application struct {
	// ClientID is a GUID. Zero: a made-up GUID, which is the same in every run and depends on the application's
	// position.
	ClientID string

	// ObjectID is the GUID of the service principal, the same in every tenant. Zero: a made-up GUID, as for ClientID.
	ObjectID string

	// Secrets are the client secrets. Nil: one secret, random in every emulator. Empty but not nil: none.
	Secrets []Secret

	// Certificates are the registered certificates, whose keys sign assertions. Nil: none, but a [CertificateFile] adds
	// one to the first application.
	Certificates []*x509.Certificate

	// Federated are the federated identity credentials. Nil: one with the default fields. Empty but not nil: none.
	Federated []FederatedCredential
}

// Secret is a client secret. Its value is never printed.
type Secret struct {
	Value   string    `json:"-"`
	Expires time.Time // zero: never
}

// Format implements [fmt.Formatter]. It hides the value from every verb.
func (s Secret) Format(f fmt.State, _ rune) {
	text := "{***}"
	if !s.Expires.IsZero() {
		text = "{*** until " + s.Expires.UTC().Format(time.RFC3339) + "}"
	}
	io.WriteString(f, text)
}

// FederatedCredential says whose tokens an application accepts as assertions. Zero fields stand for the tokens of
// [TokenFile]. For the tokens of a managed identity of the emulator, Issuer is
// "https://login.microsoftonline.com/{tenant}/v2.0" and Subject is the object ID of the identity.
type FederatedCredential struct {
	Issuer   string // zero: the issuer of the emulator's Kubernetes cluster, an https URL that is the same in every run
	Subject  string // zero: "system:serviceaccount:default:emulator"
	Audience string // zero: "api://AzureADTokenExchange"
}

// The defaults of federated credentials and of token files.
const (
	defaultSubject  = serviceAccount + "default:emulator"
	defaultAudience = "api://AzureADTokenExchange"
)

func applications(given []Application) []Application {
	if len(given) == 0 {
		given = make([]Application, 1)
	}
	all := make([]Application, len(given))
	for i, a := range given {
		all[i] = a.complete(fmt.Sprintf("application-%d", i+1))
	}
	return all
}

func (a Application) complete(name string) Application {
	if a.ClientID == "" {
		a.ClientID = stableGUID(name + " client")
	}
	if a.ObjectID == "" {
		a.ObjectID = stableGUID(name + " object")
	}
	if a.Secrets == nil {
		a.Secrets = []Secret{{Value: newClientSecret()}}
	}
	if a.Federated == nil {
		a.Federated = make([]FederatedCredential, 1)
	}
	a = a.clone()
	for i, f := range a.Federated {
		a.Federated[i] = f.complete()
	}
	return a
}

// firstSecret returns the value of the first secret, or "" if there is none.
func (a *Application) firstSecret() string {
	if len(a.Secrets) == 0 {
		return ""
	}
	return a.Secrets[0].Value
}

func (a Application) clone() Application {
	a.Secrets, a.Federated, a.Certificates = slices.Clone(a.Secrets), slices.Clone(a.Federated),
		slices.Clone(a.Certificates)
	return a
}

func (f FederatedCredential) complete() FederatedCredential {
	if f.Issuer == "" {
		f.Issuer = clusterIssuer()
	}
	if f.Subject == "" {
		f.Subject = defaultSubject
	}
	if f.Audience == "" {
		f.Audience = defaultAudience
	}
	return f
}

// application returns the application with the client ID, in any case, or nil if there is none.
func (s *state) application(clientID string) *Application {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.applications {
		if strings.EqualFold(a.ClientID, clientID) {
			return &a
		}
	}
	return nil
}

// secret returns the secret with the value, or nil if there is none. It prefers a secret that has not expired.
func (a *Application) secret(value string, now time.Time) (found *Secret, expired bool) {
	for i := range a.Secrets {
		s := &a.Secrets[i]
		if subtle.ConstantTimeCompare([]byte(s.Value), []byte(value)) != 1 {
			continue
		}
		if found = s; s.Expires.IsZero() || now.Before(s.Expires) {
			return found, false
		}
	}
	return found, found != nil
}

// newClientSecret returns a value in Entra's format: 40 characters, of which those in the middle identify the kind of
// secret.
func newClientSecret() string {
	// The alphabet has 64 characters, so all of them are equally likely.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	var b [40]byte
	rand.Read(b[:])
	for i := range b {
		b[i] = alphabet[b[i]%64]
	}
	copy(b[3:], "8Q~")
	return string(b[:])
}
