package testkit

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// InChild runs the test again in a process of its own, with a fresh environment, and reports whether this is that process.
func InChild(t *testing.T, attributes *syscall.SysProcAttr, env ...string) bool {
	const marker = "MANAGEDID_TEST_CHILD"
	if os.Getenv(marker) == t.Name() {
		return true
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	child.Env = append(append(os.Environ(), env...), marker+"="+t.Name())
	child.SysProcAttr = attributes
	out, err := child.CombinedOutput()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Skipf("no network namespace can be made here: %v", err)
	}
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
	return false
}

// AsUser is a process of its own whose user has an ID in a new user namespace, on Linux 0 for all capabilities in it.
func AsUser(id int, flags uintptr) *syscall.SysProcAttr {
	self := func(host int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{ContainerID: id, HostID: host, Size: 1}}
	}
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | flags, UidMappings: self(os.Getuid()), GidMappings: self(os.Getgid())}
}
