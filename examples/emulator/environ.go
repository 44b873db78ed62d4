package main

import (
	"errors"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/managedid/managedid/managedidtest"
)

const usage = `usage: emulator [flags] [-- COMMAND ARG...]
With a COMMAND it runs that in the environment of an Azure host, and ends with its exit code. Without, it writes that
environment, for "set -a; . FILE" in a shell, and serves until it is interrupted.

What your shell has of such variables doesn't reach the COMMAND. To make a mistake on purpose:
  emulator -- env AZURE_CLIENT_ID=58aa5369-580c-5cf8-8a88-98faaaf5b3d2 COMMAND

With -source arc that host is a server with the agent of Azure Arc. Its keys are files in /var/opt/azcmagent/tokens,
or on Windows in %ProgramData%\AzureConnectedMachineAgent\Tokens, since programs accept them from nowhere else. The
emulator makes that folder if it has to, which takes root's or an administrator's rights, and leaves it there. Without
them, on Linux, run it in a mount namespace of its own:
  unshare -rm sh -c 'mount -t tmpfs none /var/opt && exec emulator -source arc -- COMMAND'
A program that takes no variables but finds the agent itself asks port 40342: -listen 127.0.0.1:40342.

With -source servicefabric that host is a node of a Service Fabric cluster, whose certificate is known by its
thumbprint alone.

With -source entra-secret, entra-certificate, workload or identity-binding that host gets its tokens from Entra, which
the emulator then serves over TLS. SSL_CERT_FILE (OpenSSL; Go on Linux and the BSDs only), NODE_EXTRA_CA_CERTS
(Node.js), REQUESTS_CA_BUNDLE (Python) and CURL_CA_BUNDLE name its certificate. All but Node.js's replace the system's
file of roots: the COMMAND trusts no other server but those that your own SSL_CERT_FILE names, unless the roots are in
a directory too (SSL_CERT_DIR). A library that asks Entra whether it knows the authority host has to be told not to
(azidentity: DisableInstanceDiscovery). If a proxy is set, NO_PROXY has to name 127.0.0.1.

With -source identity-binding they go to the token proxy of a cluster of AKS, if the program asks for it (managedid
and azidentity: EnableAzureProxy, which no chain sets).
`

var sources = []managedidtest.Endpoint{
	managedidtest.IMDS, managedidtest.AppService, managedidtest.AppService2017, managedidtest.Arc,
	managedidtest.CloudShell,
	managedidtest.AzureML, managedidtest.ServiceFabric, managedidtest.EntraSecret, managedidtest.EntraCertificate,
	managedidtest.Workload, managedidtest.IdentityBinding,
}

// sourceNames lists the sources. It adds a note to names that are not clear.
func sourceNames() string {
	notes := map[managedidtest.Endpoint]string{managedidtest.IMDS: " (a virtual machine)",
		managedidtest.AppService2017: " (an old app)",
		managedidtest.Workload:       " (a pod of Kubernetes)", managedidtest.IdentityBinding: " (a pod of AKS)"}
	var names []string
	for _, s := range sources {
		names = append(names, string(s)+notes[s])
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// tokenLife is the default lifetime of a projected token. rotateAt is the age at which kubelet rotates it. Both are
// from Kubernetes' page "Configure Service Accounts for Pods".
const (
	tokenLife = time.Hour
	rotateAt  = tokenLife * 8 / 10
)

// environment returns the variables of the host. It creates the files that they name, and keeps the token file fresh,
// until the caller calls release. release removes the files.
func environment(srv *managedidtest.Server, host managedidtest.Endpoint) (env map[string]string, release func(),
	err error) {
	if host == managedidtest.Arc {
		return srv.Environ(host), func() {}, srv.MakeKeyDir()
	}
	switch host {
	case managedidtest.EntraSecret, managedidtest.EntraCertificate, managedidtest.Workload,
		managedidtest.IdentityBinding:
	default:
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
	userRoots, _ := os.ReadFile(os.Getenv("SSL_CERT_FILE"))
	err = errors.Join(os.WriteFile(ca, slices.Concat(srv.CertificatePEM(), userRoots), 0o600), os.Mkdir(pod, 0o700))
	var file *managedidtest.TokenFile
	switch {
	case err != nil:
	case host == managedidtest.EntraCertificate:
		_, err = srv.NewCertificateFile(dir)
	case host == managedidtest.Workload:
		file, err = srv.NewTokenFile(pod, &managedidtest.TokenFileOptions{Lifetime: tokenLife})
	case host == managedidtest.IdentityBinding:
		var proxy *managedidtest.TokenProxy
		if proxy, err = srv.NewTokenProxy(pod); err == nil {
			file = proxy.TokenFile
		}
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	if file != nil {
		stop = keepFresh(file)
	}
	env = srv.Environ(host)
	maps.Copy(env, map[string]string{
		// Nothing listens at this address. Programs do not use the real IMDS of the machine.
		"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:1",
		"SSL_CERT_FILE":                     ca, "NODE_EXTRA_CA_CERTS": ca, "REQUESTS_CA_BUNDLE": ca,
		"CURL_CA_BUNDLE": ca,
	})
	return env, release, nil
}

// keepFresh rotates the file until the caller calls stop. stop returns when the goroutine has ended. keepFresh uses
// wall-clock time, which also passes while the machine sleeps.
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
					log.Print(err) // it tries again in a minute
				} else {
					made = now
				}
			}
		}
	}()
	return func() { close(quit); <-done }
}
