package managedidtest

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// CertificateFile is a file with a certificate of the first application and its private key, in PEM. It is safe for
// concurrent use.
type CertificateFile struct {
	// Path is that of the file.
	Path string

	s    *state
	held *heldCertificate // behind a pointer so that printing reads nothing that changes
}

type heldCertificate struct {
	sync.Mutex                   // held while the file changes
	current    *x509.Certificate // in the file; guarded by the mutex
}

// NewCertificateFile makes a certificate file in the directory, which must exist, and registers its certificate.
// [Emulator.Environ] of an [EntraCertificate] names the last one that was made. Nobody removes it.
func (e *Emulator) NewCertificateFile(dir string) (*CertificateFile, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	f := &CertificateFile{Path: filepath.Join(dir, "certificate.pem"), s: e.s, held: &heldCertificate{}}
	if err := f.Rotate(); err != nil {
		return nil, err
	}
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.s.certFile = f.Path
	return f, nil
}

// Rotate puts a new certificate with a new key in the place of the old one, all at once. The new one is registered, and the
// old one no longer.
func (f *CertificateFile) Rotate() error {
	f.held.Lock()
	defer f.held.Unlock()
	key := newSigningKey()()
	template := certificate(time.Now().UnixNano(), "managedidtest application")
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	fresh, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	var content bytes.Buffer
	pem.Encode(&content, &pem.Block{Type: "PRIVATE KEY", Bytes: private})
	pem.Encode(&content, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	f.register(fresh, nil) // before anybody can use it
	if err := replaceFile(f.Path, content.Bytes()); err != nil {
		f.register(nil, fresh)
		return err
	}
	f.register(nil, f.held.current)
	f.held.current = fresh
	return nil
}

// replaceFile changes what a file holds, all at once.
func replaceFile(path string, content []byte) error {
	fresh, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = fresh.Write(content)
	if err = errors.Join(err, fresh.Close()); err == nil {
		err = os.Rename(fresh.Name(), path)
	}
	if err != nil {
		os.Remove(fresh.Name())
	}
	return err
}

// register makes one certificate known and another one unknown; nil means none.
func (f *CertificateFile) register(fresh, old *x509.Certificate) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	first := &f.s.applications[0]
	first.Certificates = slices.DeleteFunc(append(slices.Clone(first.Certificates), fresh), func(c *x509.Certificate) bool { return c == nil || c == old })
}

func (s *state) lastCertificateFile() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.certFile
}

func must(err error) {
	if err != nil {
		panic("managedidtest: " + strings.TrimPrefix(err.Error(), "managedidtest: "))
	}
}
