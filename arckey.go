package managedid

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unicode"
)

// maxArcKey is the most that a key file has, in MSAL's implementations of this protocol.
const maxArcKey = 4096

// arcKeys is where the agent puts its key files, and who may read them.
type arcKeys struct {
	folder    string
	separator string
	group     string // who is in it, and how one comes into it
}

// arcKeysOn is the folder of an operating system ("Access Azure resources by using managed identity on Azure Arc-enabled
// servers"; the groups are from there and from issue 76673 of MicrosoftDocs/azure-docs). programData is %ProgramData%.
func arcKeysOn(goos, programData string) (arcKeys, error) {
	switch goos {
	case "linux":
		return arcKeys{"/var/opt/azcmagent/tokens", "/", "add its user to the group himds"}, nil
	case "windows":
		if programData == "" {
			return arcKeys{}, errors.New("ProgramData is not set; set it to the folder of the agent's files")
		}
		if len(programData) < 3 || programData[1:3] != `:\` { // relative, or on another machine
			return arcKeys{}, errors.New("ProgramData is not a folder on a drive of this machine; correct it")
		}
		return arcKeys{strings.TrimRight(programData, `\`) + `\AzureConnectedMachineAgent\Tokens`, `\`,
			"add its user to the group Administrators or Hybrid agent extension applications"}, nil
	}
	return arcKeys{}, fmt.Errorf("the agent of %s is for Linux and Windows only, not %s", SourceAzureArc, goos)
}

// owns says whether the path is that of a key file: the folder, exactly as it is written here, and a name that ends in .key
// and can't lead anywhere else. A backslash parts names on Windows alone, and a colon begins a stream there.
func (k arcKeys) owns(path string) bool {
	name, inside := strings.CutPrefix(path, k.folder+k.separator)
	base, isKey := strings.CutSuffix(name, ".key")
	return inside && isKey && base != "" && !strings.Contains(path, "..") &&
		!strings.ContainsAny(name, `/\:`) && !strings.ContainsFunc(path, unicode.IsControl)
}

// read returns the key in a file that the agent has named. Its errors have neither the path, which is another each time, nor
// anything of the file.
func (k arcKeys) read(path string) (string, error) {
	if !k.owns(path) {
		return "", verdict{reason: ReasonMalformedAnswer, advice: "the endpoint named a key file that is not of the form " +
			k.folder + k.separator + "NAME.key; nothing was read or sent"}
	}
	content, err := readUnlinked(path, maxArcKey)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("the agent's key file in %s may not be read by this program; %s", k.folder, k.group)
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("the agent's key file is not in %s as this program sees it; in a container, mount that folder; else %s", k.folder, k.group)
	case err != nil:
		return "", fmt.Errorf("the agent's key file in %s is unusable: %w", k.folder, err)
	}
	key := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if strings.TrimSpace(key) == "" {
		return "", fmt.Errorf("the agent's key file in %s is empty; restart the agent", k.folder)
	} else if strings.ContainsFunc(key, unicode.IsControl) {
		return "", fmt.Errorf("the agent's key file in %s has control characters; restart the agent", k.folder)
	}
	return key, nil
}

// readUnlinked is readRegular without following a symbolic link at the end of the path: what was seen there must be what is
// then open. So it needs no right to list the folder.
func readUnlinked(path string, limit int64) ([]byte, error) {
	seen, err := os.Lstat(path)
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	if err != nil {
		return nil, err
	} else if !seen.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	return readSame(seen, path, limit)
}
