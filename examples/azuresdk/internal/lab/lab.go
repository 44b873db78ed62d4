// Package lab is what the examples run against where there is no Azure: the emulator as the metadata service of a virtual
// machine, services on loopback, and a proxy that leads Azure's host names to them, so that an example's program needs no
// change and has no code for it. What it stands for is set in the environment alone, as on Azure.
package lab

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/managedid/managedid/managedidtest"
)

// Lab is one virtual machine with the services that its program uses. It is safe for concurrent use.
type Lab struct {
	Emulator *managedidtest.Server

	// ClockAhead is how far the databases' clocks are ahead: tokens end that much sooner there, as if time were scaled. Zero:
	// not at all. It must not change once one of them has started.
	ClockAhead time.Duration

	dir       string
	proxy     *proxy
	authority *authority

	mu    sync.Mutex // guards all below
	env   map[string]string
	roots []byte         // certificates, in PEM
	stops []func() error // called by Close, the last first
}

// Start starts the emulator and the proxy. Nil options make a host with a system-assigned identity and a user-assigned one,
// which an application trusts.
// The caller should call Close when finished.
func Start(o *managedidtest.Options) (*Lab, error) {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		return nil, &MissingError{"Go reads SSL_CERT_FILE on neither Windows nor macOS; run the lab on Linux, in a container if need be"}
	}
	if o == nil {
		o = host()
	}
	dir, err := os.MkdirTemp("", "lab-")
	if err != nil {
		return nil, err
	}
	l := &Lab{dir: dir, env: map[string]string{}}
	l.onClose(func() error { return os.RemoveAll(dir) })
	if err := l.start(o); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lab) start(o *managedidtest.Options) (err error) {
	if err = os.Chmod(l.dir, 0o711); err != nil { // a server may run as another user, and has its files in here
		return err
	}
	if l.authority, err = newAuthority(); err != nil {
		return err
	}
	if l.Emulator, err = managedidtest.Listen(o); err != nil {
		return err
	}
	l.onClose(func() error { l.Emulator.Close(); return nil })
	if l.proxy, err = startProxy(); err != nil {
		return err
	}
	l.onClose(l.proxy.close)
	entra, err := url.Parse(l.Emulator.AuthorityHost)
	if err != nil {
		return err
	}
	l.Route("login.microsoftonline.com", entra.Host)
	if err = errors.Join(l.trust(l.authority.pem()), l.trust(l.Emulator.CertificatePEM())); err != nil {
		return err
	}
	maps.Copy(l.env, l.Emulator.Environ(managedidtest.IMDS))
	maps.Copy(l.env, map[string]string{
		"SSL_CERT_FILE": l.rootsFile(),
		"HTTPS_PROXY":   l.proxy.url, "https_proxy": "",
		"HTTP_PROXY": "", "http_proxy": "", "NO_PROXY": "", "no_proxy": "",
	})
	return nil
}

// Environ is the environment for an example's process: this one's, with the lab's variables in it.
func (l *Lab) Environ() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if _, ours := l.env[name]; !ours {
			all = append(all, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		if value := l.env[name]; value != "" { // an empty one is to be unset
			all = append(all, name+"="+value)
		}
	}
	return all
}

// Setenv adds a variable to Environ; an empty value removes it.
func (l *Lab) Setenv(name, value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.env[name] = value
}

func (l *Lab) getenv(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.env[name]
}

// Route has the proxy lead a host name to an address of loopback.
func (l *Lab) Route(host, addr string) { l.proxy.route(host, addr) }

// Dir returns a directory that Close removes. Others may enter it, but not list it.
func (l *Lab) Dir() string { return l.dir }

func (l *Lab) rootsFile() string { return filepath.Join(l.dir, "roots.pem") }

// trust adds a certificate to those that Environ's SSL_CERT_FILE names.
func (l *Lab) trust(pem []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.roots = append(l.roots, pem...)
	return os.WriteFile(l.rootsFile(), l.roots, 0o644)
}

// onClose has Close call a function.
func (l *Lab) onClose(stop func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stops = append(l.stops, stop)
}

// Close ends all that the lab started, and removes its files.
func (l *Lab) Close() error {
	l.mu.Lock()
	stops := l.stops
	l.stops = nil
	l.mu.Unlock()
	var err error
	for _, stop := range slices.Backward(stops) {
		err = errors.Join(err, stop())
	}
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}
