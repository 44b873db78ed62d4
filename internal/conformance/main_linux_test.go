package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"github.com/managedid/managedid/internal/testkit"
)

// ownArcFolder runs the tests again, with the same arguments, in a process that sees another /var/opt. It returns in that
// process, or where there can be none.
func ownArcFolder() {
	const marker, begun, there, none = "MANAGEDID_TEST_ARC", "begun", "there", "the folder of Azure Arc's keys can't be the tests' own: "
	switch was := os.Getenv(marker); {
	case was == begun:
		os.Setenv(marker, there) // for the tests' children
		if err := syscall.Mount("none", "/var/opt", "tmpfs", 0, ""); err != nil {
			noArcFolder = none + err.Error()
			os.Setenv(marker, noArcFolder)
		}
		return
	case was != "":
		noArcFolder = strings.TrimPrefix(was, there)
		return
	}
	runtime.LockOSThread() // whose end would be the child's
	child := exec.Command(os.Args[0], os.Args[1:]...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.Env = append(os.Environ(), marker+"="+begun)
	child.SysProcAttr = testkit.AsUser(0, syscall.CLONE_NEWNS)
	child.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := child.Start(); err != nil {
		runtime.UnlockOSThread()
		noArcFolder = none + err.Error()
		os.Setenv(marker, noArcFolder)
		return
	}
	if err := child.Wait(); child.ProcessState.ExitCode() < 0 {
		fmt.Fprintln(os.Stderr, "the tests' process:", err)
		os.Exit(2)
	}
	os.Exit(child.ProcessState.ExitCode())
}
