package main

import (
	"errors"
	"log"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/managedid/managedid/managedidtest"
)

const usage = `usage: emulator [flags] [-- COMMAND ARG...]
With a COMMAND it runs that in the environment of an Azure host, and ends with its exit code. Without, it writes that
environment, for "set -a; . FILE" in a shell, and serves until it is interrupted.

With -source arc that host is a server with the agent of Azure Arc. Its keys are files in /var/opt/azcmagent/tokens, or on
Windows in %ProgramData%\AzureConnectedMachineAgent\Tokens, since programs accept them from nowhere else. The emulator makes
that folder if it has to, which takes root's or an administrator's rights, and leaves it there. Without them, on Linux, run it
in a mount namespace of its own:
  unshare -rm sh -c 'mount -t tmpfs none /var/opt && exec emulator -source arc -- COMMAND'
A program that takes no variables but finds the agent itself asks port 40342: -listen 127.0.0.1:40342.

With -source servicefabric that host is a node of a Service Fabric cluster, whose certificate is known by its thumbprint alone.

With -source entra-secret, entra-certificate or workload that host gets its tokens from Entra, which the emulator then
serves over TLS.
SSL_CERT_FILE (OpenSSL; Go on Linux and the BSDs only), NODE_EXTRA_CA_CERTS (Node.js), REQUESTS_CA_BUNDLE (Python) and
CURL_CA_BUNDLE name its certificate. All but Node.js's replace the system's file of roots: the COMMAND trusts no other
server, unless the roots are in a directory too (SSL_CERT_DIR). A library that asks Entra whether it knows the authority
host has to be told not to (azidentity: DisableInstanceDiscovery). If a proxy is set, NO_PROXY has to name 127.0.0.1.
`

var sources = []managedidtest.Endpoint{
	managedidtest.IMDS, managedidtest.AppService, managedidtest.AppService2017, managedidtest.Arc, managedidtest.CloudShell,
	managedidtest.AzureML, managedidtest.ServiceFabric, managedidtest.EntraSecret, managedidtest.EntraCertificate, managedidtest.Workload,
}

// The life of a projected token unless a pod asks for another, and the share after which kubelet rotates it: Kubernetes'
// page "Configure Service Accounts for Pods".
const (
	tokenLife = time.Hour
	rotateAt  = tokenLife * 8 / 10
)

// environment returns the variables of the host. The files that they name are there, and the token file is kept fresh, until
// release is called.
func environment(srv *managedidtest.Server, host managedidtest.Endpoint) (env map[string]string, release func(), err error) {
	if host == managedidtest.Arc {
		return srv.Environ(host), func() {}, srv.MakeKeyDir()
	}
	if host != managedidtest.EntraSecret && host != managedidtest.EntraCertificate && host != managedidtest.Workload {
		return srv.Environ(host), func() {}, nil
	}
	dir, err := os.MkdirTemp("", "emulator-")
	if err != nil {
		return nil, nil, err
	}
	stop := func() {}
	release = func() {
		stop()
		os.RemoveAll(dir)
	}
	ca, pod := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "azure")
	err = errors.Join(os.WriteFile(ca, srv.CertificatePEM(), 0o600), os.Mkdir(pod, 0o700))
	if err == nil && host == managedidtest.Workload {
		var file *managedidtest.TokenFile
		if file, err = srv.NewTokenFile(pod, &managedidtest.TokenFileOptions{Lifetime: tokenLife}); err == nil {
			stop = keepFresh(file)
		}
	} else if err == nil && host == managedidtest.EntraCertificate {
		_, err = srv.NewCertificateFile(dir)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	env = srv.Environ(host)
	maps.Copy(env, map[string]string{"SSL_CERT_FILE": ca, "NODE_EXTRA_CA_CERTS": ca, "REQUESTS_CA_BUNDLE": ca, "CURL_CA_BUNDLE": ca})
	return env, release, nil
}

// keepFresh rotates the file until stop is called, which returns when nothing of it is left. It goes by the time of day,
// which goes on while the machine sleeps.
func keepFresh(file *managedidtest.TokenFile) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(time.Minute)
		defer ticker.Stop()
		made := time.Now().Round(0)
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
			}
			if now := time.Now().Round(0); now.Sub(made) >= rotateAt {
				if err := file.Rotate(); err != nil {
					log.Print(err) // and again in a minute
				} else {
					made = now
				}
			}
		}
	}()
	return func() { close(quit); <-done }
}
