package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newCommand returns the lab's command, with a directory of its own for what is temporary.
func newCommand(t *testing.T, args ...string) (cmd *exec.Cmd, temp string) {
	t.Helper()
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		t.Skip("the lab runs on Linux")
	}
	program := filepath.Join(t.TempDir(), "lab")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	temp = t.TempDir()
	cmd = exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	return cmd, temp
}

func TestLab_runsAnExample(t *testing.T) {
	cmd, temp := newCommand(t, "keyvault")
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	require.NoError(t, cmd.Run(), log.String())
	require.Equal(t, "database-password has 16 characters\n", out.String())
	require.Regexp(t, `^  emulator: \S+ GET /metadata/identity/oauth2/token resource=https://vault.azure.net 200 `, log.String())
	requireNothingLeft(t, temp)
}

func TestLab_showsAFault(t *testing.T) {
	cmd, temp := newCommand(t, "-fault", "revoked", "rest")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Contains(t, string(out), "no managed identity is assigned to this host; assign one")
	requireNothingLeft(t, temp)
}

func TestLab_usage(t *testing.T) {
	for _, args := range [][]string{{}, {"none"}, {"blob", "rest"}, {"-fault", "none", "rest"}} {
		cmd, _ := newCommand(t, args...)
		out, err := cmd.CombinedOutput()
		require.Error(t, err)
		require.Equal(t, 2, cmd.ProcessState.ExitCode())
		require.Contains(t, string(out), "NAME is blob, ")
	}
}

func TestLab_endsWhenInterrupted(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it looks for processes in /proc")
	}
	cmd, temp := newCommand(t, "blob")
	var log bytes.Buffer
	cmd.Stderr = &log
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for len(processes(t, temp)) == 0 { // until Azurite runs
		select {
		case <-ended:
			if os.Getenv("CI") == "" && strings.Contains(log.String(), "not installed") {
				t.Skip(log.String())
			}
			t.Fatal(log.String())
		case <-time.After(time.Millisecond):
		}
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, <-ended)
	require.Empty(t, processes(t, temp))
	requireNothingLeft(t, temp)
}

// processes returns those whose working directory is in a directory.
func processes(t *testing.T, dir string) (found []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cwd")
	require.NoError(t, err)
	for _, link := range all {
		if cwd, err := os.Readlink(link); err == nil && strings.HasPrefix(cwd, dir) {
			found = append(found, link)
		}
	}
	return found
}

func requireNothingLeft(t *testing.T, temp string) {
	t.Helper()
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
}
