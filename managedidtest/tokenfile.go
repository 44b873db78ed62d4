package managedidtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// The names in a projected volume, from pkg/volume/util/atomic_writer.go of k8s.io/kubernetes. The name of the file is
// from the webhook of Azure workload identity.
const (
	tokenFileName = "azure-identity-token"
	dataName      = "..data"
	newDataName   = "..data_tmp"
	dataDirFormat = "..2006_01_02_15_04_05."
)

// TokenFile is the projected token of a Kubernetes service account. It has the layout that kubelet maintains in a pod.
// It is safe for concurrent use.
type TokenFile struct {
	// Path is the path of the file. It is a symbolic link to ..data/azure-identity-token. ..data is a symbolic link to
	// a directory beside it, whose name is the time.
	Path string

	options TokenFileOptions
	// mu is held while the directory changes. It is a pointer, so that printing reads no changing field.
	mu *sync.Mutex
}

// TokenFileOptions are claims in the tokens of a [TokenFile]. Zero fields have the defaults of [FederatedCredential].
type TokenFileOptions struct {
	Issuer, Subject, Audience string

	// Lifetime is the lifetime of a token, in whole seconds. Zero: one hour. A negative value makes tokens that have
	// already expired.
	Lifetime time.Duration
}

// NewTokenFile makes a token file in the directory, which must exist and should be empty. A nil o means the defaults.
// On Windows, this needs the right to create symbolic links. [Emulator.Environ] for [Workload] names the latest one.
// The emulator never rotates the file by itself, and never removes it.
func (e *Emulator) NewTokenFile(dir string, o *TokenFileOptions) (*TokenFile, error) {
	f, err := makeTokenFile(dir, o)
	if err != nil {
		return nil, err
	}
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.s.tokenFile = f.Path
	return f, nil
}

func makeTokenFile(dir string, o *TokenFileOptions) (*TokenFile, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	f := &TokenFile{Path: filepath.Join(dir, tokenFileName), mu: new(sync.Mutex)}
	if o != nil {
		f.options = *o
	}
	d := FederatedCredential{f.options.Issuer, f.options.Subject, f.options.Audience}.complete()
	f.options.Issuer, f.options.Subject, f.options.Audience = d.Issuer, d.Subject, d.Audience
	if f.options.Lifetime == 0 {
		f.options.Lifetime = time.Hour
	}
	return f, f.Rotate()
}

// Rotate replaces the token atomically by a new one, as kubelet does.
func (f *TokenFile) Rotate() error { return f.Write(podToken(f.options, time.Now())) }

// Write replaces the content of the file atomically by any content. The file's modification time is [time.Now], also in
// a testing/synctest bubble.
func (f *TokenFile) Write(content string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, now := filepath.Dir(f.Path), time.Now()
	old, err := os.Readlink(filepath.Join(dir, dataName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old != "" && !strings.HasPrefix(filepath.Base(old), "..2") || old != "" && old != filepath.Base(old) {
		return fmt.Errorf("managedidtest: %s is no token file's directory: ..data leads to %s", dir, old)
	}
	linkTarget := filepath.Join(dataName, tokenFileName)
	if link, _ := os.Readlink(f.Path); link != linkTarget {
		if err := os.Symlink(linkTarget, f.Path); err != nil {
			return err
		}
	}
	fresh, err := os.MkdirTemp(dir, now.UTC().Format(dataDirFormat))
	if err != nil {
		return err
	}
	if err := swap(dir, fresh, content, now); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, old)) // the new token is already in place
}

// swap writes the content to the directory fresh, and then points ..data at it.
func swap(dir, fresh, content string, now time.Time) error {
	file, link := filepath.Join(fresh, tokenFileName), filepath.Join(dir, newDataName)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		return err
	}
	if err := errors.Join(os.Chtimes(file, now, now), os.Chtimes(fresh, now, now)); err != nil {
		return err
	}
	os.Remove(link) // an earlier failure may have left it
	if err := os.Symlink(filepath.Base(fresh), link); err != nil {
		return err
	}
	data := filepath.Join(dir, dataName)
	// On Windows, a rename cannot replace a directory. kubelet does the same.
	if runtime.GOOS == "windows" {
		os.Remove(data)
	}
	return os.Rename(link, data)
}
