package lab

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
)

const (
	storageAccount = "labaccount"
	storageHost    = storageAccount + ".blob.core.windows.net"
)

// Blob starts Azurite and uploads a blob. The account's key is random, and in this process and Azurite's alone.
func (l *Lab) Blob() error {
	const container, name = "greetings", "hello.txt"
	var secret [64]byte
	rand.Read(secret[:])
	key := base64.StdEncoding.EncodeToString(secret[:])
	shared, err := azblob.NewSharedKeyCredential(storageAccount, key)
	if err != nil {
		return err
	}
	client, err := azblob.NewClientWithSharedKeyCredential("https://"+storageHost, shared, &azblob.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: l.client(), Retry: policy.RetryOptions{MaxRetries: -1}}})
	if err != nil {
		return err
	}
	ready := func() error {
		_, err := client.CreateContainer(context.Background(), container, nil)
		return err
	}
	if err := l.azurite(ready, key); err != nil {
		return err
	}
	l.Setenv("AZURE_BLOB_URL", "https://"+storageHost+"/"+container+"/"+name)
	_, err = client.UploadBuffer(context.Background(), container, name, []byte("hello from a blob\n"), nil)
	return err
}

// azurite starts Azurite, whose account has the key.
func (l *Lab) azurite(ready func() error, accountKey string) error {
	program, err := azurite()
	if err != nil {
		return err
	}
	cert, key, err := l.Certificate(storageHost)
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	l.Route(storageHost, net.JoinHostPort("127.0.0.1", port))
	environ := append(os.Environ(), "AZURITE_ACCOUNTS="+storageAccount+":"+accountKey)
	// azblob's x-ms-version is newer than any that Azurite knows, hence skipApiVersionCheck.
	return l.run(ready, environ, "node", program, "--blobHost", "127.0.0.1", "--blobPort", port, "--oauth", "basic", "--cert", cert, "--key", key,
		"--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck")
}

// client reaches the lab's services as an example's process does.
func (l *Lab) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(l.authority.certificate)
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			to, known := l.proxy.leads(addr)
			if !known {
				return nil, errors.New("lab: no route to " + addr)
			}
			return new(net.Dialer).DialContext(ctx, network, to)
		},
	}}
}

// freePort returns a port of 127.0.0.1 that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
