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

// The names in a projected volume: k8s.io/kubernetes pkg/volume/util/atomic_writer.go, and of the file, the webhook of
// Azure workload identity.
const (
	tokenFileName = "azure-identity-token"
	dataName      = "..data"
	newDataName   = "..data_tmp"
	dataDirFormat = "..2006_01_02_15_04_05."
)

// TokenFile is the projected token of a Kubernetes service account, as kubelet keeps it in a pod. It is safe for concurrent
// use.
type TokenFile struct {
	// Path is that of the file. It is a symbolic link to ..data/azure-identity-token, and ..data beside it is one to a
	// directory named after the time.
	Path string

	options TokenFileOptions
	mu      *sync.Mutex // held while the directory changes; behind a pointer so that printing reads nothing that changes
}

// TokenFileOptions say what the tokens of a [TokenFile] claim. Zero fields have the defaults of [FederatedCredential].
type TokenFileOptions struct {
	Issuer, Subject, Audience string

	// Lifetime of a token, in whole seconds. Zero: one hour. A negative one makes tokens that have expired already.
	Lifetime time.Duration
}

// NewTokenFile makes a token file in the directory, which must exist and should be empty; on Windows that takes the right to
// make symbolic links. [Emulator.Environ] of a Workload names the last one that was made. Nobody rotates it unasked, and
// nobody removes it.
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

// Rotate puts a new token in the place of the old one, all at once, as kubelet does.
func (f *TokenFile) Rotate() error { return f.Write(podToken(f.options, time.Now())) }

// Write is Rotate with any content. The file's time of modification is that of [time.Now], in a testing/synctest bubble too.
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
	to := filepath.Join(dataName, tokenFileName)
	if link, _ := os.Readlink(f.Path); link != to {
		if err := os.Symlink(to, f.Path); err != nil {
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
	return os.RemoveAll(filepath.Join(dir, old)) // the new token is in place, whatever becomes of the old one
}

// swap fills the fresh directory and makes it the one that ..data names.
func swap(dir, fresh, content string, now time.Time) error {
	file, link := filepath.Join(fresh, tokenFileName), filepath.Join(dir, newDataName)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		return err
	}
	if err := errors.Join(os.Chtimes(file, now, now), os.Chtimes(fresh, now, now)); err != nil {
		return err
	}
	os.Remove(link) // left by a failure
	if err := os.Symlink(filepath.Base(fresh), link); err != nil {
		return err
	}
	data := filepath.Join(dir, dataName)
	if runtime.GOOS == "windows" { // where nothing can take a directory's place; kubelet does the same
		os.Remove(data)
	}
	return os.Rename(link, data)
}
