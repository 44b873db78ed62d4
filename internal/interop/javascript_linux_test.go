package interop

import (
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// ownNames is a machine of the test's own as ownHost is, with its own names of hosts, and with /opt, where Node.js may be.
func ownNames(t *testing.T) bool {
	const script = `ip link set lo up && ip addr add 169.254.169.254/32 dev lo && mount -t tmpfs none /var/opt &&
echo 127.0.0.1 localhost login.microsoftonline.com >/var/opt/hosts && mount --bind /var/opt/hosts /etc/hosts`
	one := func(host int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: host, Size: 1}} }
	return inChild(t, script, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: one(os.Getuid()), GidMappings: one(os.Getgid())})
}

func TestJavaScript_onAHostOfItsOwn(t *testing.T) {
	javascript(t)
	if !ownNames(t) {
		return
	}
	t.Run("at the real address of", func(t *testing.T) {
		s := listen(t, imdsAddr, options())
		real := javascriptIMDS
		real.request = tokenPath
		real.check(t, s, nodeEnviron(t, s, ""))
	})
	t.Run("default chain", probeOfJavaScript)
	t.Run("by its variables", func(t *testing.T) {
		s := managedidtest.NewServer(options())
		t.Cleanup(s.Close)
		javascriptArc.check(t, s, nodeEnviron(t, s, managedidtest.Arc))
	})
	t.Run("Arc refuses", arcRefusesJavaScript)
	t.Run("Entra by its name", entraByItsName)
}

// The probe has no Metadata header, is refused, and is answer enough.
func probeOfJavaScript(t *testing.T) {
	s := listen(t, imdsAddr, options())
	got := node(t, nodeEnviron(t, s, ""), "DefaultAzureCredential", `{}`, "token", vault)
	log := s.Requests()
	got.verify(t, s, vault)
	require.Len(t, log, 2)
	require.Equal(t, []int{400, 200}, []int{log[0].Status, log[1].Status})
	require.Equal(t, tokenPath, log[0].Method+" "+log[0].Path)
	require.Empty(t, log[0].Query)
	require.Empty(t, log[0].Header.Values("Metadata"))
	require.Equal(t, s.SystemAssigned().ClientID, log[1].Identity)
}

func arcRefusesJavaScript(t *testing.T) {
	for _, row := range []struct {
		name     string
		server   managedidtest.Options
		options  string
		statuses []int
		want     string
	}{
		{"an unknown identity", managedidtest.Options{}, unknown, []int{401, 404}, "the requested identity has not been assigned to this resource"},
		{"user-assigned identities in an old agent", managedidtest.Options{UserAssigned: options().UserAssigned, ArcIgnoresIDs: true},
			optionsFor(byClientID), []int{401, 200}, "user_assigned_managed_identity_not_confirmed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := managedidtest.NewServer(&row.server)
			t.Cleanup(s.Close)
			got := node(t, nodeEnviron(t, s, managedidtest.Arc), managedIdentity, row.options, "token", vault)
			require.True(t, got.Token == "")
			require.Contains(t, got.Error, row.want)
			var statuses []int
			for _, r := range s.Requests() {
				statuses = append(statuses, r.Status)
			}
			require.Equal(t, row.statuses, statuses)
		})
	}
}

// entraByItsName has no option and no variable that leads to the emulator.
func entraByItsName(t *testing.T) {
	s := managedidtest.NewServer(nil)
	t.Cleanup(s.Close)
	cert, key := certificate(t, s, "https://login.microsoftonline.com")
	l, err := net.Listen("tcp", "127.0.0.1:443")
	require.NoError(t, err)
	public := &http.Server{Handler: s}
	go public.ServeTLS(l, cert, key)
	t.Cleanup(func() { public.Close() })
	env := nodeEnviron(t, s, managedidtest.Workload)
	delete(env, "AZURE_AUTHORITY_HOST")
	got := node(t, env, "DefaultAzureCredential", `{}`, "token", vault)
	checkExchange(t, s, got, "client_assertion", "POST /"+s.TenantID()+"/oauth2/v2.0/token")
	require.Equal(t, "login.microsoftonline.com", strings.TrimSuffix(s.Requests()[0].Host, ":443"))
}
