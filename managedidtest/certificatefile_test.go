package managedidtest

import (
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCertificateFile_isRegisteredAsItRotates(t *testing.T) {
	given := newCertificate(t, applicationKey(), nil)
	e := New(&Options{Applications: []Application{{Certificates: []*x509.Certificate{given}}, {}}})
	f, err := e.NewCertificateFile(t.TempDir())
	require.NoError(t, err)
	require.Equal(t, f.Path, e.Environ(EntraCertificate)["AZURE_CLIENT_CERTIFICATE_PATH"])
	var all sync.WaitGroup
	all.Go(func() { // a client looks up the application meanwhile
		for range 100 {
			e.Applications()
		}
	})
	first := e.Applications()[0].Certificates
	require.NoError(t, f.Rotate())
	all.Wait()
	second := e.Applications()[0].Certificates
	require.Len(t, first, 2)
	require.Len(t, second, 2)
	require.Equal(t, given, first[0])
	require.Equal(t, given, second[0])
	require.False(t, first[1].Equal(second[1]))
	require.False(t, first[1].PublicKey.(*rsa.PublicKey).Equal(second[1].PublicKey))
	require.Empty(t, e.Applications()[1].Certificates)

	content := read(t, f.Path)
	require.True(t, strings.HasPrefix(content, "-----BEGIN PRIVATE KEY-----\n"))
	require.Equal(t, 1, strings.Count(content, "-----BEGIN CERTIFICATE-----\n"))
	f.Path += "/none/x"
	require.Error(t, f.Rotate())
	require.Equal(t, second, e.Applications()[0].Certificates, "a failure changes nothing")
	_, err = e.NewCertificateFile(f.Path)
	require.Error(t, err)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", f, f, f), "PRIVATE")
}

func TestSetenv_makesACertificateFile(t *testing.T) {
	e := New(nil)
	require.Empty(t, e.Environ(EntraCertificate)["AZURE_CLIENT_CERTIFICATE_PATH"])
	e.Setenv(t, EntraCertificate)
	first := e.Environ(EntraCertificate)
	require.NotEmpty(t, first["AZURE_CLIENT_CERTIFICATE_PATH"])
	require.Equal(t, e.TenantID(), first["AZURE_TENANT_ID"])
	e.Setenv(t, EntraCertificate, IMDS)
	require.Equal(t, first["AZURE_CLIENT_CERTIFICATE_PATH"],
		e.Environ(EntraCertificate)["AZURE_CLIENT_CERTIFICATE_PATH"], "it is still there")
}
