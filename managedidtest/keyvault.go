package managedidtest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// vaultAudience is the audience of Key Vault in Azure's public cloud.
const vaultAudience = "https://vault.azure.net"

// NewKeyVault starts a Key Vault with these secrets, like [Server.NewResource]. It sends challenges, verifies tokens,
// and gets and sets secrets, with or without a version. Its certificate is also valid for names in vault.azure.net, so
// a test can map one to it. Azure's clients accept other addresses only with an option, in azsecrets
// DisableChallengeResourceVerification. NewKeyVault panics if Key Vault does not allow a secret's name.
func (s *Server) NewKeyVault(secrets map[string]string) *httptest.Server {
	return s.NewResource(vaultAudience, newVault(secrets))
}

// KeyVault makes the vault of [Server.NewKeyVault] as a [Resource], which is a transport without sockets.
func (e *Emulator) KeyVault(secrets map[string]string) *Resource {
	return e.Resource(vaultAudience, newVault(secrets))
}

// keyVault serves the secrets of a Key Vault: Microsoft's REST reference "Secrets".
type keyVault struct {
	mu      sync.Mutex                // guards secrets
	secrets map[string][]secretBundle // by name in lower case, oldest version first
}

// secretBundle is one version of a secret.
type secretBundle struct {
	Value       string            `json:"value"`
	ContentType string            `json:"contentType,omitempty"`
	ID          string            `json:"id"`
	Attributes  secretAttributes  `json:"attributes"`
	Tags        map[string]string `json:"tags,omitempty"`

	version string
}

type secretAttributes struct {
	Enabled         *bool  `json:"enabled"`
	NotBefore       int64  `json:"nbf,omitempty"`
	Expires         int64  `json:"exp,omitempty"`
	Created         int64  `json:"created"`
	Updated         int64  `json:"updated"`
	RecoveryLevel   string `json:"recoveryLevel"`
	RecoverableDays int    `json:"recoverableDays"`
}

var isSecretName = regexp.MustCompile(`^[0-9A-Za-z-]{1,127}$`).MatchString

func newVault(secrets map[string]string) *keyVault {
	v := &keyVault{secrets: map[string][]secretBundle{}}
	for name, value := range secrets {
		if !isSecretName(name) {
			panic("managedidtest: Key Vault takes letters, digits and hyphens in a secret's name")
		}
		v.set(name, secretBundle{Value: value})
	}
	return v
}

// ServeHTTP answers a request whose token is already verified.
func (v *keyVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.URL.Query().Get("api-version") == "":
		vaultError(w, http.StatusBadRequest, "BadParameter", "The api-version must be specified.")
	case path[0] != "secrets" || len(path) < 2 || len(path) > 3:
		vaultError(w, http.StatusNotFound, "NotFound", "The emulator has secrets only.")
	case !isSecretName(path[1]):
		vaultError(w, http.StatusBadRequest, "BadParameter", "The request URI contains an invalid name.")
	case r.Method == http.MethodGet:
		v.get(w, r, path[1], path[2:])
	case r.Method == http.MethodPut && len(path) == 2:
		v.put(w, r, path[1])
	default:
		w.Header().Set("Allow", "GET, PUT")
		vaultError(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "The emulator gets and sets secrets only.")
	}
}

func (v *keyVault) get(w http.ResponseWriter, r *http.Request, name string, version []string) {
	v.mu.Lock()
	all := v.secrets[strings.ToLower(name)]
	v.mu.Unlock()
	if len(version) > 0 {
		all = slices.DeleteFunc(slices.Clone(all), func(s secretBundle) bool {
			return !strings.EqualFold(s.version, version[0])
		})
	}
	if len(all) == 0 {
		vaultError(w, http.StatusNotFound, "SecretNotFound",
			fmt.Sprintf("A secret with (name/id) %s was not found in this key vault.",
				strings.Join(append([]string{name}, version...), "/")))
		return
	}
	s := all[len(all)-1]
	if !*s.Attributes.Enabled {
		vaultError(w, http.StatusForbidden, "Forbidden", "Operation get is not allowed on a disabled secret.")
		return
	}
	writeSecret(w, r, name, s)
}

// put adds a version of a secret.
func (v *keyVault) put(w http.ResponseWriter, r *http.Request, name string) {
	var given struct {
		secretBundle
		Value *string `json:"value"`
	}
	if json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&given) != nil || given.Value == nil {
		vaultError(w, http.StatusBadRequest, "BadParameter", "Property value has invalid value.")
		return
	}
	given.secretBundle.Value = *given.Value
	writeSecret(w, r, name, v.set(name, given.secretBundle))
}

func (v *keyVault) set(name string, s secretBundle) secretBundle {
	var version [16]byte
	rand.Read(version[:])
	s.version = hex.EncodeToString(version[:])
	if s.Attributes.Enabled == nil {
		enabled := true
		s.Attributes.Enabled = &enabled
	}
	s.Attributes.Created = time.Now().Unix()
	s.Attributes.Updated = s.Attributes.Created
	// These are the defaults of a new vault.
	s.Attributes.RecoveryLevel, s.Attributes.RecoverableDays = "Recoverable+Purgeable", 90
	v.mu.Lock()
	defer v.mu.Unlock()
	name = strings.ToLower(name) // the case of names does not matter
	v.secrets[name] = append(v.secrets[name], s)
	return s
}

func writeSecret(w http.ResponseWriter, r *http.Request, name string, s secretBundle) {
	s.ID = "https://" + hostOf(r) + "/secrets/" + name + "/" + s.version
	writeJSON(w, http.StatusOK, s)
}

func vaultError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, azureError(code, message))
}
