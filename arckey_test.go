package managedid

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

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

	seen, err := os.Lstat(secret)
	require.NoError(t, err)
	_, err = readSame(seen, filepath.Join(dir, "real.key"), maxArcKey)
	requireError(t, err, "it was replaced while it was being opened")
}

func TestArcKeys_permissionErrorsNameTheGroup(t *testing.T) {
	linux, err := arcKeysOn("linux", "")
	require.NoError(t, err)
	require.Contains(t, linux.group, "group himds")
	windows, err := arcKeysOn("windows", `C:\ProgramData`)
	require.NoError(t, err)
	require.Contains(t, windows.group, "group Administrators or Hybrid agent extension applications")
}
