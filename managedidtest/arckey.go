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

// keyLife is made up. The Azure Monitor agent's extension for Linux fetches a key anew every 25 seconds.
const keyLife = time.Minute

// arcKeys are the keys of Azure Arc's challenges, and their files.
type arcKeys struct {
	dir string // zero: none on this system

	mu   sync.Mutex // guards live
	live map[string]arcKey
}

type arcKey struct {
	path  string
	until time.Time
}

// newArcKeys uses a given directory, or else the agent's own: Microsoft's page "Access Azure resources by using managed
// identity on Azure Arc-enabled servers".
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

// Format prints nothing of the keys.
func (k *arcKeys) Format(f fmt.State, _ rune) { io.WriteString(f, "{***}") }

func (k *arcKeys) make() error {
	if k.dir == "" {
		return errors.New("managedidtest: the agent of Azure Arc has no folder for its keys here; set Options.KeyDir")
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return fmt.Errorf("managedidtest: %w", err)
	}
	return nil
}

// add makes a key that is good once, and returns the path of its file. It removes those that are too old.
func (k *arcKeys) add(now time.Time) (path string, err error) {
	if k.dir == "" {
		return "", k.make()
	}
	var b [48]byte
	rand.Read(b[:])
	key := base64URL.EncodeToString(b[:])
	k.mu.Lock()
	defer k.mu.Unlock()
	for old, of := range k.live {
		if !now.Before(of.until) {
			k.remove(old)
		}
	}
	path = filepath.Join(k.dir, newGUID()+".key")
	if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
		return "", fmt.Errorf("managedidtest: %w; MakeKeyDir makes the folder", err)
	}
	k.live[key] = arcKey{path, now.Add(keyLife)}
	return path, nil
}

// spend reports whether the key is good, and removes it.
func (k *arcKeys) spend(key string, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	of, ok := k.live[key]
	if ok {
		k.remove(key)
	}
	return ok && now.Before(of.until)
}

func (k *arcKeys) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key := range k.live {
		k.remove(key)
	}
}

// remove forgets a key. The caller holds mu.
func (k *arcKeys) remove(key string) {
	os.Remove(k.live[key].path)
	delete(k.live, key)
}

// MakeKeyDir makes the directory of [Options].KeyDir, readable by its owner only, unless it is there. Nobody removes it.
func (e *Emulator) MakeKeyDir() error { return e.s.keys.make() }
