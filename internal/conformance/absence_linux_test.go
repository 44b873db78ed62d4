package conformance

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/managedidtest"
)

// ownNetwork is a network namespace with nothing in it, for a process that need not be root.
func ownNetwork() *syscall.SysProcAttr {
	return testkit.AsUser(0, syscall.CLONE_NEWNET)
}

func TestAbsence_noRouteToTheRealAddress(t *testing.T) {
	if !testkit.InChild(t, ownNetwork()) {
		return
	}
	blankEnvironment(t)
	checkGoroutines(t)
	c, err := managedid.NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	r := get(ctx0, c, vault)
	require.Equal(t, managedid.ReasonAbsent, asCredentialError(t, r.Err))
	require.Contains(t, r.Err.Error(), "IMDS: not found at 169.254.169.254: dial: network is unreachable")
	fmt.Println("no route: known absent after", r.Took)
}

func TestAbsence_packetsVanish(t *testing.T) {
	blankEnvironment(t)
	checkGoroutines(t)
	t.Setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://"+deafListener(t))
	c, err := managedid.NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	results := getAll(ctx0, c, vault, "https://storage.azure.com/.default")
	for _, r := range results {
		require.Equal(t, managedid.ReasonAbsent, asCredentialError(t, r.Err))
		require.Contains(t, r.Err.Error(), "no answer in time")
		notOfAContext(t, r.Err)
	}
	t.Log("packets vanish: known absent after", results[0].Took)
}

// deafListener returns an address on loopback at which connections are never completed: its backlog is full.
func deafListener(t *testing.T) string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, syscall.Listen(fd, 0))
	name, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(name.(*syscall.SockaddrInet4).Port))
	for range 10 { // until one hangs
		conn, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Skip("the kernel accepts connections beyond a backlog of 0")
	return ""
}

// TestVector22 uses 0.0.0.0, which Linux connects to loopback and which Go's proxy rules don't exempt as they exempt
// 127.0.0.1. Go reads HTTP_PROXY once, hence the child process.
func TestVector22_aProxyInTheEnvironmentSeesNoMetadataRequest(t *testing.T) {
	if os.Getenv("HTTP_PROXY") == "" {
		var seen atomic.Int32
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen.Add(1) }))
		defer proxy.Close()
		testkit.InChild(t, nil, "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=")
		require.Equal(t, int32(1), seen.Load(), "only the request that proves the proxy to be in use")
		return
	}
	s := newLoopback(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, tokenBody("x", time.Now().Add(time.Hour)))
	})
	u, err := url.Parse(s.URL)
	require.NoError(t, err)
	u.Host = "0.0.0.0:" + u.Port()
	t.Setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", u.String())
	c, err := managedid.NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	require.NoError(t, get(ctx0, c, vault).Err)
	t.Setenv("IDENTITY_ENDPOINT", u.String())
	t.Setenv("IDENTITY_HEADER", "secret-header")
	c, err = managedid.NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	require.NoError(t, get(ctx0, c, vault).Err)
	resp, err := http.Get(u.String())
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	http.DefaultClient.CloseIdleConnections()
}

func TestTransport_aHugeAnswerCostsTwoMebibytes(t *testing.T) {
	for name, announceLength := range map[string]bool{"with its length": true, "without its length": false} {
		t.Run(name, func(t *testing.T) {
			const size = 512 << 20
			newLoopback(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Server", "IMDS/1")
				if announceLength {
					w.Header().Set("Content-Length", strconv.Itoa(size))
				}
				chunk := make([]byte, 64<<10)
				for sent := 0; sent < size; sent += len(chunk) {
					if _, err := w.Write(chunk); err != nil {
						return
					}
				}
			})
			c, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{}})
			require.NoError(t, err)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r := get(ctx0, c, vault)
			runtime.ReadMemStats(&after)
			asCredentialError(t, r.Err)
			require.Contains(t, r.Err.Error(), "larger than 1 MiB")
			t.Log("allocated in all, the server's part included:", (after.TotalAlloc-before.TotalAlloc)>>10, "KiB")
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
		})
	}
}

func TestEmulator_atTheRealAddress(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs the program ip, of Debian's package iproute2")
	}
	if !testkit.InChild(t, ownNetwork()) {
		return
	}
	if out, err := exec.Command("sh", "-c", "ip link set lo up && ip addr add 169.254.169.254/32 dev lo").CombinedOutput(); err != nil {
		t.Skipf("no address can be added here: %s", out)
	}
	s := newServer(t, managedidtest.IMDS, &managedidtest.Options{Addr: "169.254.169.254:80"})
	t.Setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "")
	c, err := managedid.NewDefaultAzureCredential(nil)
	require.NoError(t, err)
	for _, r := range getAll(ctx0, c, slices.Repeat([]string{vault}, 100)...) {
		require.NoError(t, r.Err)
	}
	require.Len(t, s.Requests(), 1)
}
