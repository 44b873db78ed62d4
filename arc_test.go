package managedid

import (
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/managedidtest"
)

// arcWith makes a credential whose key files are in a directory of the test's.
func arcWith(t *testing.T, o azcore.ClientOptions, dir string, id ManagedIDKind, logger *slog.Logger) *ManagedIdentityCredential {
	t.Helper()
	endpoint, err := url.Parse("http://localhost:40342/metadata/identity/oauth2/token")
	require.NoError(t, err)
	s := arcSource(id, endpoint, keysIn(dir))
	managed(s)
	c, err := newCredential(nameManagedIdentity, s, o, NewTokenCache(nil), logger, holding{})
	require.NoError(t, err)
	return &ManagedIdentityCredential{c}
}

// newArc makes an emulator and a credential for it.
func newArc(t *testing.T, id ManagedIDKind, o managedidtest.Options) (*managedidtest.Emulator, *ManagedIdentityCredential, string) {
	t.Helper()
	o.KeyDir = t.TempDir()
	em := managedidtest.New(&o)
	return em, arcWith(t, azcore.ClientOptions{Transport: em}, o.KeyDir, id, nil), o.KeyDir
}

func TestArc_requestsOfEachIdentity(t *testing.T) {
	user := managedidtest.Identity{ClientID: someGUID, ObjectID: "0b4ff0a1-0000-4000-8000-00000000000b", ResourceID: someResource}
	const escaped = "%2Fsubscriptions%2Fs%2FresourceGroups%2Fg%2Fproviders%2FMicrosoft.ManagedIdentity%2FuserAssignedIdentities%2Fn"
	for _, row := range []struct {
		name, query string
		id          ManagedIDKind
	}{
		{"system-assigned", "api-version=2020-06-01", nil},
		{"client ID", "api-version=2020-06-01&client_id=" + someGUID, ClientID(someGUID)},
		{"object ID", "api-version=2020-06-01&object_id=" + user.ObjectID, ObjectID(user.ObjectID)},
		{"resource ID", "api-version=2020-06-01&msi_res_id=" + escaped, ResourceID(someResource)},
	} {
		t.Run(row.name, func(t *testing.T) {
			var sent []*http.Request
			dir := t.TempDir()
			em := managedidtest.New(&managedidtest.Options{UserAssigned: []managedidtest.Identity{user}, KeyDir: dir})
			o := azcore.ClientOptions{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
				sent = append(sent, r)
				return em.Do(r)
			})}
			c := arcWith(t, o, dir, row.id, nil)
			for range 2 {
				require.NoError(t, get(ctx0, c, vault).Err)
			}
			require.Len(t, sent, 2, "the second token is from the cache")
			for i, r := range sent {
				require.Equal(t, http.MethodGet, r.Method)
				require.Equal(t, "http://localhost:40342/metadata/identity/oauth2/token?"+row.query+"&resource=https%3A%2F%2Fvault.azure.net", r.URL.String())
				require.Equal(t, []string{"true"}, r.Header.Values("Metadata"))
				require.Equal(t, i == 1, strings.HasPrefix(r.Header.Get("Authorization"), "Basic "))
				require.Nil(t, r.Body)
			}
			want := em.SystemAssigned().ClientID
			if row.id != nil {
				want = someGUID
			}
			require.Equal(t, want, em.Requests()[1].Identity)
		})
	}
}

func TestArc_aTokenWithoutAChallengeIsRefused(t *testing.T) {
	em, c, _ := newArc(t, nil, managedidtest.Options{})
	em.Inject(managedidtest.Fault{Endpoint: managedidtest.Arc, Status: 200, Body: tokenBody("x", time.Now().Add(time.Hour))})
	err := get(ctx0, c, vault).Err
	require.Equal(t, ReasonMalformedAnswer, asCredentialError(t, err))
	require.Contains(t, err.Error(), "without asking for a key")
	require.Nil(t, err.(*AuthenticationFailedError).RawResponse)
	require.Len(t, em.Requests(), 1)
}

func TestArc_retriesEachRequest(t *testing.T) {
	for _, row := range []struct {
		name              string
		pass, status, got int // requests that pass before, the answer from then on, requests in all
		reason            Reason
	}{
		{"the first fails", 0, 500, 6, ReasonNotReady},
		{"the second fails", 1, 503, 7, ReasonNotReady},
		{"the first is 404", 0, 404, 1, ""},
		{"the second is 404", 1, 404, 2, ""},
		{"the second is 401", 1, 401, 2, ReasonRejectedCredential},
		{"the second is 403", 1, 403, 2, ""},
		{"the first is 302", 0, 302, 1, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				em, c, _ := newArc(t, nil, managedidtest.Options{})
				if row.pass > 0 {
					em.Inject(managedidtest.Fault{Endpoint: managedidtest.Arc, Count: row.pass})
				}
				em.Inject(managedidtest.Fault{Endpoint: managedidtest.Arc, Status: row.status, Body: "x"})
				require.Equal(t, row.reason, asCredentialError(t, get(ctx0, c, vault).Err))
				require.Len(t, em.Requests(), row.got)
			})
		})
	}
	bubble(t, func(t *testing.T) {
		em, c, _ := newArc(t, nil, managedidtest.Options{})
		em.Inject(managedidtest.Fault{Endpoint: managedidtest.Arc, Count: 1})
		em.Inject(managedidtest.Fault{Endpoint: managedidtest.Arc, Count: 1, Cut: 30})
		require.NoError(t, get(ctx0, c, vault).Err, "a key that was spent for a lost answer is not the agent's last word")
		require.Len(t, em.Requests(), 5)
	})
	bubble(t, func(t *testing.T) {
		em, c, _ := newArc(t, nil, managedidtest.Options{})
		testkit.SecondOfArc(em, 500, "x")
		require.NoError(t, get(ctx0, c, vault).Err, "the key outlives a fault of the agent's")
		require.Len(t, em.Requests(), 3)
		em.Inject(managedidtest.Fault{Endpoint: managedidtest.Arc, Refused: true, For: 3 * time.Second})
		require.NoError(t, get(ctx0, c, "https://storage.azure.com/.default").Err, "an agent that restarts is waited for")
	})
}

func TestNewManagedIdentityCredential_findsTheArcAgent(t *testing.T) {
	if _, err := localArcSource(nil); err != nil {
		t.Skip(err)
	}
	const agents = "http://127.0.0.1:40342/metadata/identity/oauth2/token"
	for _, row := range []struct {
		name      string
		variables []string
		want      string
	}{
		{"by the variables", []string{"IDENTITY_ENDPOINT=http://localhost:1/x", "IMDS_ENDPOINT=http://localhost:1"}, "http://localhost:1/x"},
		{"without", nil, agents},
		{"not by that of App Service", []string{"IDENTITY_ENDPOINT=http://localhost:1/x"}, agents},
	} {
		t.Run(row.name, func(t *testing.T) {
			blankEnvironment(t)
			setenv(t, row.variables...)
			c := credentialWith(t, &ManagedIdentityCredentialOptions{Source: SourceAzureArc})
			require.Equal(t, row.want, c.source.key.address)
		})
	}
	blankEnvironment(t)
	setenv(t, "IDENTITY_ENDPOINT=localhost:40342", "IMDS_ENDPOINT=http://localhost:40342")
	_, err := NewManagedIdentityCredential(nil)
	requireError(t, err, "ManagedIdentityCredential: IDENTITY_ENDPOINT is not an http or https URL")
	setenv(t, "IDENTITY_ENDPOINT=", "AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127.0.0.1:40342")
	cache := NewTokenCache(nil)
	arc := credentialWith(t, &ManagedIdentityCredentialOptions{Source: SourceAzureArc, Cache: cache})
	imds := credentialWith(t, &ManagedIdentityCredentialOptions{Source: SourceIMDS, Cache: cache})
	require.NotSame(t, arc.tokens, imds.tokens, "what one has not confirmed never reaches the other")
}

func TestArcKeys_areInOneFolderOfEachSystem(t *testing.T) {
	for _, row := range []struct{ name, goos, programData, folder, err string }{
		{"Linux", "linux", "", "/var/opt/azcmagent/tokens", ""},
		{"Linux asks no variable", "linux", `D:\Data`, "/var/opt/azcmagent/tokens", ""},
		{"Windows", "windows", `C:\ProgramData`, `C:\ProgramData\AzureConnectedMachineAgent\Tokens`, ""},
		{"Windows, on another drive", "windows", `D:\a b\`, `D:\a b\AzureConnectedMachineAgent\Tokens`, ""},
		{"Windows without the variable", "windows", "", "", "ProgramData is not set; set it to the folder of the agent's files"},
		{"Windows with a relative one", "windows", "ProgramData", "", "ProgramData is not a folder on a drive of this machine; correct it"},
		{"Windows with a drive's own", "windows", "C:ProgramData", "", "ProgramData is not a folder on a drive of this machine; correct it"},
		{"Windows with another machine's", "windows", `\\host\share`, "", "ProgramData is not a folder on a drive of this machine; correct it"},
		{"macOS", "darwin", `C:\ProgramData`, "", "the agent of Azure Arc is for Linux and Windows only, not darwin"},
		{"others", "freebsd", "", "", "the agent of Azure Arc is for Linux and Windows only, not freebsd"},
	} {
		t.Run(row.name, func(t *testing.T) {
			keys, err := arcKeysOn(row.goos, row.programData)
			require.Equal(t, row.folder, keys.folder)
			if row.err != "" {
				requireError(t, err, row.err)
				require.Empty(t, keys)
				return
			}
			require.NoError(t, err)
		})
	}
}

// arcPaths are what an endpoint may name, with the key files' folder as FOLDER and the separator as a slash.
var arcPaths = []struct {
	name, path string
	ok         bool
}{
	{"a key", "FOLDER/k.key", true},
	{"a GUID", "FOLDER/" + someGUID + ".key", true},
	{"with a space and a dot", "FOLDER/a b.c.key", true},
	{"a longer folder", "FOLDER2/k.key", false},
	{"a folder below", "FOLDER/a/k.key", false},
	{"the folder above", "FOLDER/../k.key", false},
	{"there and back", "FOLDER/../tokens/k.key", false},
	{"there and back in front", "/var/opt/../opt/azcmagent/tokens/k.key", false},
	{"dots in the name", "FOLDER/a..key", false},
	{"two separators", "FOLDER//k.key", false},
	{"itself", "FOLDER/./k.key", false},
	{"another suffix", "FOLDER/k.pem", false},
	{"no suffix", "FOLDER/k", false},
	{"the suffix in upper case", "FOLDER/k.KEY", false},
	{"a suffix behind it", "FOLDER/k.key.txt", false},
	{"a suffix without a name", "FOLDER/.key", false},
	{"the folder", "FOLDER", false},
	{"the folder with a separator", "FOLDER/", false},
	{"another folder", "/etc/k.key", false},
	{"a relative path", "k.key", false},
	{"a URL", "file://FOLDER/k.key", false},
	{"quoted", `"FOLDER/k.key"`, false},
	{"a space in front", " FOLDER/k.key", false},
	{"a space behind", "FOLDER/k.key ", false},
	{"another parameter", "FOLDER/k.key, charset=UTF-8", false},
	{"a NUL", "FOLDER/k\x00.key", false},
	{"a line break", "FOLDER/k\n.key", false},
	{"a stream of a file", "FOLDER/k:s.key", false},
	{"a backslash on Linux, a slash on Windows", `FOLDER/a\b/c.key`, false},
	{"the other separator alone", "FOLDER/a%b.key", false},
	{"nothing", "", false},
}

func TestVector12_arcKeysAreTheFolderAndAName(t *testing.T) {
	for _, system := range []struct{ goos, separator, other string }{{"linux", "/", `\`}, {"windows", `\`, "/"}} {
		keys, err := arcKeysOn(system.goos, `C:\ProgramData`)
		require.NoError(t, err)
		for _, row := range arcPaths {
			t.Run(system.goos+", "+row.name, func(t *testing.T) {
				path := strings.NewReplacer("FOLDER/", keys.folder+system.separator, "FOLDER", keys.folder, "/", system.separator, "%", system.other).Replace(row.path)
				require.Equal(t, row.ok, keys.owns(path), path)
			})
		}
	}
	windows, err := arcKeysOn("windows", `C:\ProgramData`)
	require.NoError(t, err)
	for _, path := range []string{`c:\programdata\AzureConnectedMachineAgent\Tokens\k.key`, `C:/ProgramData/AzureConnectedMachineAgent/Tokens/k.key`,
		`\\?\C:\ProgramData\AzureConnectedMachineAgent\Tokens\k.key`, `/var/opt/azcmagent/tokens/k.key`} {
		require.False(t, windows.owns(path), path)
	}
}

// keysIn are a directory of the test's instead of the agent's.
func keysIn(dir string) arcKeys { return arcKeys{dir, string(filepath.Separator), "join the group"} }

func TestArcKeys_read(t *testing.T) {
	for _, row := range []struct{ name, content, key, problem string }{
		{"as it is", "k3y==", "k3y==", ""},
		{"with a line break", "k3y\n", "k3y", ""},
		{"with that of Windows", "k3y\r\n", "k3y", ""},
		{"4096 bytes", strings.Repeat("k", 4096), strings.Repeat("k", 4096), ""},
		{"4096 bytes with the line break", strings.Repeat("k", 4095) + "\n", strings.Repeat("k", 4095), ""},
		{"4097 bytes", strings.Repeat("k", 4097), "", "FOLDER is unusable: it is larger than 4096 bytes"},
		{"4097 bytes with the line break", strings.Repeat("k", 4096) + "\n", "", "FOLDER is unusable: it is larger than 4096 bytes"},
		{"5 KiB", strings.Repeat("k", 5<<10), "", "FOLDER is unusable: it is larger than 4096 bytes"},
		{"two line breaks", "k3y\n\n", "", "FOLDER has control characters; restart the agent"},
		{"two lines", "k3y\nX: y", "", "FOLDER has control characters; restart the agent"},
		{"a NUL", "k3y\x00", "", "FOLDER has control characters; restart the agent"},
		{"empty", "", "", "FOLDER is empty; restart the agent"},
		{"a line break alone", "\n", "", "FOLDER is empty; restart the agent"},
		{"blank", "  ", "", "FOLDER is empty; restart the agent"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "k.key")
			require.NoError(t, os.WriteFile(path, []byte(row.content), 0o600))
			key, err := keysIn(dir).read(path)
			require.True(t, key == row.key)
			if row.problem == "" {
				require.NoError(t, err)
			} else {
				requireError(t, err, "the agent's key file in "+strings.Replace(row.problem, "FOLDER", dir, 1))
			}
		})
	}
}

func TestArcKeys_readOnlyAFileThatIsThere(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "s.key")
	require.NoError(t, os.WriteFile(secret, []byte("s"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "real.key"), []byte("r"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder.key"), 0o700))
	for link, target := range map[string]string{"out.key": secret, "in.key": "real.key", "dangling.key": "none", "folderlink.key": outside} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Skip("no symbolic links can be made here: " + err.Error())
		}
	}
	for _, name := range []string{"out.key", "in.key", "dangling.key", "folderlink.key", "folder.key"} {
		key, err := keysIn(dir).read(filepath.Join(dir, name))
		requireError(t, err, "the agent's key file in "+dir+" is unusable: it is not a regular file", name)
		require.Empty(t, key)
	}
	_, err := keysIn(dir).read(filepath.Join(dir, "none.key"))
	requireError(t, err, "the agent's key file is not in "+dir+" as this program sees it; in a container, mount that folder; else join the group")
	_, err = keysIn(dir).read(filepath.Join(dir, strings.Repeat("n", 300)+".key"))
	require.ErrorContains(t, err, "the agent's key file ")
	require.NotContains(t, err.Error(), "nnn")
}

func TestArcKeys_permissionErrorsNameTheGroup(t *testing.T) {
	linux, err := arcKeysOn("linux", "")
	require.NoError(t, err)
	require.Contains(t, linux.group, "group himds")
	windows, err := arcKeysOn("windows", `C:\ProgramData`)
	require.NoError(t, err)
	require.Contains(t, windows.group, "group Administrators or Hybrid agent extension applications")
}
