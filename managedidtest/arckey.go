package managedidtest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// keyLife is how long a key is valid. The value is made up. The Azure Monitor agent's extension for Linux fetches a new
// key every 25 seconds.
const keyLife = time.Minute

// arcKeys are the keys of Azure Arc's challenges, with their files.
type arcKeys struct {
	dir string // empty: this system has no default directory

	mu   sync.Mutex // guards live
	live map[string]arcKey
}

type arcKey struct {
	path  string
	until time.Time
}

// newArcKeys uses dir, or if it is empty the agent's directory from Microsoft's page "Access Azure resources by using
// managed identity on Azure Arc-enabled servers".
func newArcKeys(dir string) *arcKeys {
	data := os.Getenv("ProgramData")
	switch {
	case dir != "":
		if absolute, err := filepath.Abs(dir); err == nil {
			dir = absolute
		}
	case runtime.GOOS == "linux":
		dir = "/var/opt/azcmagent/tokens"
	case runtime.GOOS == "windows" && data != "":
		dir = filepath.Join(data, "AzureConnectedMachineAgent", "Tokens")
	}
	return &arcKeys{dir: dir, live: map[string]arcKey{}}
}

// Format prints no key.
func (k *arcKeys) Format(f fmt.State, _ rune) { io.WriteString(f, "{***}") }

// make creates the directory, unless it exists.
func (k *arcKeys) make() error {
	if k.dir == "" {
		return errors.New("managedidtest: the agent of Azure Arc has no folder for its keys here; set Options.KeyDir")
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return fmt.Errorf("managedidtest: %w", err)
	}
	return nil
}

// add makes a key that can be used once, and returns the path of its file. It removes expired keys.
func (k *arcKeys) add(now time.Time) (path string, err error) {
	if k.dir == "" {
		return "", k.make()
	}
	var b [48]byte
	rand.Read(b[:])
	key := base64URL.EncodeToString(b[:])
	k.mu.Lock()
	defer k.mu.Unlock()
	for known, entry := range k.live {
		if !now.Before(entry.until) {
			k.remove(known)
		}
	}
	path = filepath.Join(k.dir, newGUID()+".key")
	if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
		return "", fmt.Errorf("managedidtest: %w; MakeKeyDir makes the folder", err)
	}
	k.live[key] = arcKey{path, now.Add(keyLife)}
	return path, nil
}

// use reports whether the key is valid, and removes it.
func (k *arcKeys) use(key string, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	entry, ok := k.live[key]
	if ok {
		k.remove(key)
	}
	return ok && now.Before(entry.until)
}

// clear removes all keys.
func (k *arcKeys) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key := range k.live {
		k.remove(key)
	}
}

// remove deletes a key and its file. The caller holds mu.
func (k *arcKeys) remove(key string) {
	os.Remove(k.live[key].path)
	delete(k.live, key)
}

// MakeKeyDir creates the directory of [Options].KeyDir, which only its owner can read. It does nothing if the directory
// exists. The emulator never removes it.
func (e *Emulator) MakeKeyDir() error { return e.s.keys.make() }
