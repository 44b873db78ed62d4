package interop

import (
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

// inChild runs the test again in a process of its own, and reports whether this is that process. The script prepares it. A proxy
// in the environment is not for that process.
func inChild(t *testing.T, script string, attributes *syscall.SysProcAttr) bool {
	const marker = "INTEROP_TEST_CHILD"
	if os.Getenv(marker) == t.Name() {
		return true
	}
	child := exec.Command("sh", "-c", script+` && echo prepared && exec "$0" "$@"`, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	child.Env = append(os.Environ(), "HTTP_PROXY=", "http_proxy=", "NO_PROXY=", "no_proxy=", marker+"="+t.Name())
	child.SysProcAttr = attributes
	out, err := child.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "prepared\n") {
		t.Skipf("needs the kernel's leave to make namespaces, and ip of Debian's package iproute2: %v %s", err, out)
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
	imds.check(t, s, nil)
}

// The chain's probe has no query and no Metadata header, is refused, and is answer enough.
func TestIMDS_ofAzidentitysDefaultChain(t *testing.T) {
	if !ownHost(t) {
		return
	}
	s := listen(t, imdsAddr, options())
	for _, kind := range []int{system, byClientID} {
		t.Run(kinds[kind], func(t *testing.T) {
			s.Setenv(t)
			if kind == byClientID {
				t.Setenv("AZURE_CLIENT_ID", user.ClientID)
			}
			c, err := azidentity.NewDefaultAzureCredential(nil)
			require.NoError(t, err)
			before := len(s.Requests())
			got, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{vault + "/.default"}})
			require.NoError(t, err)
			log := s.Requests()[before:]
			claims, err := managedidtest.VerifyToken(t.Context(), s.Client(), s.JWKSURL(), got.Token, vault)
			require.NoError(t, err)
			require.Equal(t, tokenPath, log[0].Method+" "+log[0].Path)
			require.Equal(t, 400, log[0].Status)
			require.Empty(t, log[0].Query)
			require.Empty(t, log[0].Header.Values("Metadata"))
			imds.checkSent(t, log[1:], kind, vault)
			require.Equal(t, claims.ClientID, log[1].Identity)
			require.Equal(t, kind == byClientID, claims.ObjectID == user.ObjectID)
		})
	}
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

// Libraries that use the environment's proxies send IMDS's requests there, in the form that proxies get. Go reads HTTP_PROXY
// once, at a process's first request.
func TestIMDS_throughAProxyInTheEnvironment(t *testing.T) {
	if !inChild(t, "true", nil) {
		return
	}
	s := listen(t, "127.0.0.1:0", options())
	s.Setenv(t)
	t.Setenv("HTTP_PROXY", s.URL)
	imds.check(t, s, nil)
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
	arc.check(t, s, nil)
}

func TestArc_foundByItsProgram(t *testing.T) {
	if !ownHost(t) {
		return
	}
	s := listen(t, "127.0.0.1:40342", options())
	s.Setenv(t)
	require.NoError(t, s.MakeKeyDir())
	require.NoError(t, os.WriteFile("/opt/azcmagent/bin/himds", nil, 0o700))
	found := arc
	found.request = tokenPath
	found.check(t, s, nil)
}

// An agent that knows no user-assigned identities gives the system-assigned one's token, which libraries don't believe; one
// that knows them refuses those that aren't assigned.
func TestArc_refusals(t *testing.T) {
	if !ownHost(t) {
		return
	}
	for name, row := range map[string]struct {
		options managedidtest.Options
		status  int
		want    string
	}{
		"IDs ignored":  {managedidtest.Options{UserAssigned: options().UserAssigned, ArcIgnoresIDs: true}, 200, "did not confirm the requested user-assigned managed identity"},
		"not assigned": {managedidtest.Options{}, 404, "identity_not_found"},
	} {
		s := listen(t, "127.0.0.1:0", &row.options)
		s.Setenv(t, managedidtest.Arc)
		for _, c := range clients {
			for kind := byClientID; kind <= byResourceID; kind++ {
				t.Run(name+" "+c.name+" "+kinds[kind], func(t *testing.T) {
					get, err := c.new(kind, nil)
					require.NoError(t, err)
					before := len(s.Requests())
					_, _, err = get(t.Context(), vault)
					require.ErrorContains(t, err, row.want)
					sent := s.Requests()[before:]
					arc.checkSent(t, sent, kind, vault)
					require.Equal(t, row.status, sent[1].Status)
					require.Equal(t, row.status == 200, sent[1].Identity == s.SystemAssigned().ClientID)
				})
			}
		}
	}
}
