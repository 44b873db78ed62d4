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

// Blob starts Azurite and uploads a blob. The account's key is random, and in this process and Azurite's alone.
func (l *Lab) Blob() error {
	program, err := azurite()
	if err != nil {
		return err
	}
	const account, container, name = "labaccount", "greetings", "hello.txt"
	host := account + ".blob.core.windows.net"
	cert, key, err := l.Certificate(host)
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	var secret [64]byte
	rand.Read(secret[:])
	shared, err := azblob.NewSharedKeyCredential(account, base64.StdEncoding.EncodeToString(secret[:]))
	if err != nil {
		return err
	}
	client, err := azblob.NewClientWithSharedKeyCredential("https://"+host, shared, &azblob.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: l.client(), Retry: policy.RetryOptions{MaxRetries: -1}}})
	if err != nil {
		return err
	}
	l.Route(host, net.JoinHostPort("127.0.0.1", port))
	ready := func() error {
		_, err := client.CreateContainer(context.Background(), container, nil)
		return err
	}
	environ := append(os.Environ(), "AZURITE_ACCOUNTS="+account+":"+base64.StdEncoding.EncodeToString(secret[:]))
	// azblob's x-ms-version is newer than any that Azurite knows, hence skipApiVersionCheck.
	if err := l.run(ready, environ, "node", program, "--blobHost", "127.0.0.1", "--blobPort", port, "--oauth", "basic", "--cert", cert, "--key", key,
		"--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"); err != nil {
		return err
	}
	if _, err := client.UploadBuffer(context.Background(), container, name, []byte("hello from a blob\n"), nil); err != nil {
		return err
	}
	l.Setenv("AZURE_BLOB_URL", "https://"+host+"/"+container+"/"+name)
	return nil
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
