package interop

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// inChild runs the test again in a process of its own, and reports whether this is that process. The script prepares it.
func inChild(t *testing.T, script string, attributes *syscall.SysProcAttr, env ...string) bool {
	const marker = "INTEROP_TEST_CHILD"
	if os.Getenv(marker) == t.Name() {
		return true
	}
	child := exec.Command("sh", "-c", script+` && echo prepared && exec "$0" "$@"`, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	child.Env = append(append(os.Environ(), env...), marker+"="+t.Name())
	child.SysProcAttr = attributes
	out, err := child.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "prepared\n") {
		t.Skipf("needs namespaces for users, networks and mounts, and ip of Debian's package iproute2: %v %s", err, out)
	}
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
	return false
}

// ownHost is a machine of the test's own, with the address of IMDS and Azure Arc's directories, for a process that need not be root.
func ownHost(t *testing.T) bool {
	const script = `ip link set lo up && ip addr add 169.254.169.254/32 dev lo && mount -t tmpfs none /opt &&
mkdir -p /opt/azcmagent/bin && mount -t tmpfs none /var/opt`
	one := func(host int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: host, Size: 1}} }
	return inChild(t, script, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: one(os.Getuid()), GidMappings: one(os.Getgid())})
}

func listen(t *testing.T, addr string, o *managedidtest.Options) *managedidtest.Server {
	t.Helper()
	o.Addr = addr
	s, err := managedidtest.Listen(o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

const imdsAddr = "169.254.169.254:80"

func TestIMDS_atTheRealAddress(t *testing.T) {
	if !ownHost(t) {
		return
	}
	s := listen(t, imdsAddr, options())
	s.Setenv(t)
	imds.check(t, s, s.Emulator, nil)
	for _, r := range s.Requests() {
		require.True(t, r.Endpoint == managedidtest.Keys || r.Header.Get("Metadata") == "true")
	}
}

// The chain's probe has no Metadata header, is refused, and is answer enough.
func TestIMDS_ofAzidentitysDefaultChain(t *testing.T) {
	if !ownHost(t) {
		return
	}
	s := listen(t, imdsAddr, options())
	s.Setenv(t)
	c, err := azidentity.NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	got, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{vault + "/.default"}})
	require.NoError(t, err)
	log := s.Requests()
	require.Len(t, log, 2)
	require.Equal(t, []int{400, 200}, []int{log[0].Status, log[1].Status})
	require.Empty(t, log[0].Header.Get("Metadata"))
	_, err = managedidtest.VerifyToken(t.Context(), s.Client(), s.JWKSURL(), got.Token, vault)
	require.NoError(t, err)
}

func TestIMDS_refusals(t *testing.T) {
	if !ownHost(t) {
		return
	}
	s := listen(t, imdsAddr, &managedidtest.Options{NoSystemAssigned: true})
	s.Setenv(t)
	for _, c := range clients {
		for kind, name := range kinds {
			t.Run(c.name+" "+name, func(t *testing.T) {
				get, err := c.new(kind, nil)
				require.NoError(t, err)
				before := len(s.Requests())
				_, _, err = get(t.Context(), vault)
				require.ErrorContains(t, err, map[bool]string{true: "Identity not found", false: "the requested identity isn't assigned to this resource"}[kind == system || c.name == "MSAL"])
				require.Len(t, s.Requests(), before+1)
				require.Equal(t, 400, s.Requests()[before].Status)
			})
		}
	}
}

// Libraries that use the environment's proxies send IMDS's requests there, in the form that proxies get.
func TestIMDS_throughAProxyInTheEnvironment(t *testing.T) {
	if os.Getenv("HTTP_PROXY") == "" {
		s := managedidtest.NewServer(options()) // in the child process another, at its address
		s.Close()
		addr := strings.TrimPrefix(s.URL, "http://")
		inChild(t, "true", nil, "HTTP_PROXY=http://"+addr, "http_proxy=", "NO_PROXY=", "no_proxy=", "INTEROP_TEST_ADDR="+addr)
		return
	}
	s := listen(t, os.Getenv("INTEROP_TEST_ADDR"), options())
	s.Setenv(t)
	imds.check(t, s, s.Emulator, nil)
	for _, r := range s.Requests() {
		require.True(t, r.Endpoint == managedidtest.Keys || r.Host == "169.254.169.254")
	}
}

func TestArc_foundByItsVariables(t *testing.T) {
	if !ownHost(t) {
		return
	}
	s := listen(t, "127.0.0.1:0", options())
	s.Setenv(t, managedidtest.Arc)
	arc.check(t, s, s.Emulator, nil)
}

func TestArc_foundByItsProgram(t *testing.T) {
	if !ownHost(t) {
		return
	}
	s := listen(t, "127.0.0.1:40342", options())
	s.Setenv(t, managedidtest.Arc)
	s.Setenv(t) // the key files' directory stays
	require.NoError(t, os.WriteFile("/opt/azcmagent/bin/himds", nil, 0o700))
	found := arc
	found.request = imds.request
	found.check(t, s, s.Emulator, nil)
}

func TestArc_anAgentWithoutUserAssignedIdentitiesIsNotBelieved(t *testing.T) {
	if !ownHost(t) {
		return
	}
	o := options()
	o.ArcIgnoresIDs = true
	s := listen(t, "127.0.0.1:0", o)
	s.Setenv(t, managedidtest.Arc)
	for _, c := range clients {
		for kind := byClientID; kind <= byResourceID; kind++ {
			get, err := c.new(kind, nil)
			require.NoError(t, err)
			_, _, err = get(t.Context(), vault)
			require.ErrorContains(t, err, "did not confirm the requested user-assigned managed identity")
		}
		get, err := c.new(system, nil)
		require.NoError(t, err)
		_, _, err = get(t.Context(), "https://"+c.name)
		require.NoError(t, err)
	}
	http.DefaultClient.CloseIdleConnections()
}
