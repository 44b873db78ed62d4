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

// CertificateFile is a PEM file with a certificate of the first application and its private key. It is safe for
// concurrent use.
type CertificateFile struct {
	// Path is the path of the file.
	Path string

	s       *state
	current *currentCertificate // a pointer, so that printing reads no changing field
}

type currentCertificate struct {
	sync.Mutex                    // held while the file changes; guards certificate
	certificate *x509.Certificate // in the file; nil: none yet
}

// NewCertificateFile makes a certificate file in the directory, which must exist, and registers its certificate.
// [Emulator.Environ] for [EntraCertificate] names the latest one. The emulator never removes the file.
func (e *Emulator) NewCertificateFile(dir string) (*CertificateFile, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	f := &CertificateFile{Path: filepath.Join(dir, "certificate.pem"), s: e.s, current: &currentCertificate{}}
	if err := f.Rotate(); err != nil {
		return nil, err
	}
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.s.certFile = f.Path
	return f, nil
}

// Rotate replaces the file atomically by one with a new certificate and a new key. It registers the new certificate and
// unregisters the old one.
func (f *CertificateFile) Rotate() error {
	f.current.Lock()
	defer f.current.Unlock()
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
	f.register(fresh, nil) // before a client can use it
	if err := replaceFile(f.Path, content.Bytes()); err != nil {
		f.register(nil, fresh)
		return err
	}
	f.register(nil, f.current.certificate)
	f.current.certificate = fresh
	return nil
}

// replaceFile replaces a file atomically. Only its owner can read the new one.
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

// register adds the certificate fresh to the first application and removes old. Nil means none.
func (f *CertificateFile) register(fresh, old *x509.Certificate) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	first := &f.s.applications[0]
	first.Certificates = slices.DeleteFunc(append(slices.Clone(first.Certificates), fresh),
		func(c *x509.Certificate) bool { return c == nil || c == old })
}

func (s *state) lastCertificateFile() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.certFile
}

// must panics if err is not nil.
func must(err error) {
	if err != nil {
		panic("managedidtest: " + strings.TrimPrefix(err.Error(), "managedidtest: "))
	}
}
