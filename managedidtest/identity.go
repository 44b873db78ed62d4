package managedidtest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Identity is a managed identity. Zero fields get made-up values, which are the same in every run. They depend only on
// whether the identity is system-assigned or on its position among the user-assigned ones.
type Identity struct {
	ClientID   string // a GUID
	ObjectID   string // a GUID, also called principal ID
	ResourceID string // an Azure resource ID, "/subscriptions/…"
}

func systemAssigned(given *Identity) Identity {
	var id Identity
	if given != nil {
		id = *given
	}
	return id.complete("system", "Microsoft.Compute/virtualMachines/emulator")
}

func userAssigned(given []Identity) []Identity {
	all := make([]Identity, len(given))
	for i, id := range given {
		name := fmt.Sprintf("identity-%d", i+1)
		all[i] = id.complete(name, "Microsoft.ManagedIdentity/userAssignedIdentities/"+name)
	}
	return all
}

func (id Identity) complete(name, resource string) Identity {
	if id.ClientID == "" {
		id.ClientID = stableGUID(name + " client")
	}
	if id.ObjectID == "" {
		id.ObjectID = stableGUID(name + " object")
	}
	if id.ResourceID == "" {
		id.ResourceID = "/subscriptions/" + stableGUID("subscription") + "/resourceGroups/emulator" +
			"/providers/" + resource
	}
	return id
}

// has reports whether the selector, a query parameter of a token endpoint, names this identity. The case of IDs does
// not matter. The parameters are from Microsoft's pages "How to use managed identities to acquire a token" (IMDS) and
// "Managed identities for App Service and Azure Functions"; clientid is from version 2017-09-01 of the latter.
func (id *Identity) has(selector, value string) bool {
	switch selector {
	case "client_id", "clientid":
		return strings.EqualFold(id.ClientID, value)
	case "object_id", "principal_id":
		return strings.EqualFold(id.ObjectID, value)
	case "msi_res_id", "mi_res_id":
		return strings.EqualFold(id.ResourceID, value)
	}
	return false
}

// find returns the identity that the selector names, or nil if there is none.
func (s *state) find(selector, value string) *Identity {
	system, users := s.identities()
	if system != nil && system.has(selector, value) {
		return system
	}
	for i := range users {
		if users[i].has(selector, value) {
			return &users[i]
		}
	}
	return nil
}

// identities returns the identities of the host. system is nil if there is no system-assigned identity.
func (s *state) identities() (system *Identity, users []Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.system, s.users
}

// RemoveIdentity removes the identity with the client ID from the host, as an administrator does. The endpoints then no
// longer know it. As in Azure, APIs accept its tokens until they expire. RemoveIdentity panics if the host has no such
// identity.
func (e *Emulator) RemoveIdentity(clientID string) {
	s := e.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.system != nil && s.system.has("client_id", clientID) {
		s.system = nil
		return
	}
	i := slices.IndexFunc(s.users, func(id Identity) bool { return id.has("client_id", clientID) })
	if i < 0 {
		panic("managedidtest: the host has no identity with this client ID")
	}
	s.users = slices.Delete(slices.Clone(s.users), i, i+1) // readers may still use the old slice
}

// stableGUID returns a GUID in the form of version 5, derived from a name.
func stableGUID(name string) string {
	sum := sha256.Sum256([]byte("managedidtest " + name))
	return formatGUID(sum[:16], 0x50)
}

// newGUID returns a random GUID of version 4.
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	return formatGUID(b[:], 0x40)
}

func formatGUID(b []byte, version byte) string {
	b[6] = b[6]&0x0f | version
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// newSecret returns a value for IDENTITY_HEADER and MSI_SECRET: 32 hexadecimal digits.
func newSecret() string {
	var b [16]byte
	rand.Read(b[:])
	return strings.ToUpper(hex.EncodeToString(b[:]))
}
