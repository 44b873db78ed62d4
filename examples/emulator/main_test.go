package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// child is the variable that selects the program that this binary plays as the COMMAND of the emulator.
const child = "EMULATOR_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(child) {
	case "environment":
		fmt.Println(strings.Join(os.Environ(), "\n"))
		os.Exit(7)
	case "arc":
		askAgent()
	case "binding":
		askProxy(true)
	case "no binding":
		askProxy(false)
	case "exchange":
		exchange()
	case "secrets":
		printSecrets()
	case "signal":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("ready")
		<-c
		os.Exit(9)
	case "kill":
		self, _ := os.FindProcess(os.Getpid())
		self.Kill()
		select {}
	}
	os.Exit(m.Run())
}

// build builds the emulator and returns the path of the program.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "emulator")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

// start starts a program. It is killed when the test ends.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
}

func code(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

func TestEmulator(t *testing.T) {
	program := build(t)
	t.Run("runs a command", func(t *testing.T) { testCommand(t, program) })
	t.Run("passes signals on", func(t *testing.T) { testSignal(t, program) })
	t.Run("runs a command against Entra", func(t *testing.T) { testEntraCommand(t, program) })
	t.Run("runs a command on a server with Azure Arc", func(t *testing.T) { testArcCommand(t, program) })
	t.Run("runs a command on a node of Service Fabric", func(t *testing.T) { testServiceFabricCommand(t, program) })
	t.Run("runs a command in a pod with an identity binding", func(t *testing.T) { testBindingCommand(t, program) })
	t.Run("tells its log no secret", func(t *testing.T) { testSecrets(t, program) })
	t.Run("serves a pod", func(t *testing.T) { testPod(t, program) })
	t.Run("serves", func(t *testing.T) { testServe(t, program) })
	t.Run("writes a file", func(t *testing.T) { testFile(t, program) })
	t.Run("refuses", func(t *testing.T) { testRefuse(t, program) })
}

func testCommand(t *testing.T, program string) {
	cmd := exec.Command(program, "-source", "appservice", "--", os.Args[0])
	cmd.Env = append(os.Environ(), child+"=environment", "AZURE_CLIENT_SECRET=of the machine", "IDENTITY_HEADER=old",
		"OTHER=kept")
	out, err := cmd.Output()
	require.Equal(t, 7, code(err))
	env := "\n" + string(out)
	require.Regexp(t, `\nIDENTITY_ENDPOINT=http://127\.0\.0\.1:\d+/msi/token\n`, env)
	require.Regexp(t, `\nIDENTITY_HEADER=[0-9A-F]{32}\n`, env)
	require.Contains(t, env, "\nOTHER=kept\n")
	require.NotContains(t, env, "AZURE_CLIENT_SECRET", "an empty variable is none")
	require.NotContains(t, env, "IDENTITY_HEADER=old")

	for source, want := range map[string]string{
		"cloudshell": `\nMSI_ENDPOINT=http://127\.0\.0\.1:\d+/oauth2/token\n`,
		"azureml": `(?s)\nDEFAULT_IDENTITY_CLIENT_ID=[0-9a-f-]{36}\n.*\n` +
			`MSI_ENDPOINT=http://127\.0\.0\.1:\d+/msi/auth\nMSI_SECRET=[0-9A-F]{32}\n`,
		"appservice-2017": `\nMSI_ENDPOINT=http://127\.0\.0\.1:\d+/msi/token\nMSI_SECRET=[0-9A-F]{32}\n`,
	} {
		cmd = exec.Command(program, "-source", source, "--", os.Args[0])
		cmd.Env = append(os.Environ(), child+"=environment", "MSI_SECRET=old", "IDENTITY_HEADER=old")
		out, err = cmd.Output()
		require.Equal(t, 7, code(err))
		lines := slices.Sorted(strings.SplitSeq(string(out), "\n"))
		env := "\n" + strings.Join(lines, "\n") + "\n"
		require.Regexp(t, want, env)
		require.NotContains(t, env, "=old")
	}

	cmd = exec.Command(program, os.Args[0], "-test.run=^$") // "--" is optional
	require.NoError(t, cmd.Run())
	cmd = exec.Command(program, "--", os.Args[0])
	cmd.Env = append(os.Environ(), child+"=kill")
	require.Equal(t, 137, code(cmd.Run()))
	require.Equal(t, 127, code(exec.Command(program, "--", filepath.Join(t.TempDir(), "none")).Run()))
}

// testServiceFabricCommand runs the quickstart, which trusts the node by the thumbprint in the environment.
func testServiceFabricCommand(t *testing.T, program string) {
	quickstart := filepath.Join(t.TempDir(), "quickstart")
	out, err := exec.Command("go", "build", "-o", quickstart, "../quickstart").CombinedOutput()
	require.NoError(t, err, "%s", out)
	cmd := exec.Command(program, "-source", "servicefabric", "--", quickstart, "-azure")
	cmd.Env = append(os.Environ(), "IDENTITY_SERVER_THUMBPRINT=of the machine", "SSL_CERT_FILE=none")
	var log strings.Builder
	cmd.Stderr = &log
	out, err = cmd.Output()
	require.NoError(t, err, log.String())
	require.Contains(t, string(out), "ManagedIdentityCredential")
	require.Equal(t, 2, strings.Count(string(out), "from the endpoint"))
	require.Equal(t, 2, strings.Count(string(out), "from the cache"))
	for _, resource := range []string{"vault.azure.net", "storage.azure.com"} {
		require.Regexp(t, `(?m)^\S+ GET /metadata/identity/oauth2/token resource=https://`+resource+
			` 200 identity=[0-9a-f-]{36}$`, log.String())
	}
}

func testSignal(t *testing.T, program string) {
	cmd := exec.Command(program, "--", os.Args[0])
	cmd.Env = append(os.Environ(), child+"=signal")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	start(t, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, 9, code(cmd.Wait()))
}

func testServe(t *testing.T, program string) {
	cmd := exec.Command(program, "-lifetime", "2m")
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	start(t, cmd)
	lines := bufio.NewReader(out)
	env := map[string]string{}
	for range managedidtest.New(nil).Environ("") {
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		name, value, found := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		require.True(t, found)
		env[name] = value
	}
	host := env["AZURE_POD_IDENTITY_AUTHORITY_HOST"]
	require.Regexp(t, `^http://127\.0\.0\.1:\d+$`, host)
	require.Contains(t, env, "AZURE_CLIENT_ID")
	require.Empty(t, env["AZURE_CLIENT_ID"])

	resp, err := http.Get(host + "/metadata/identity/oauth2/token")
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, 400, resp.StatusCode)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	require.Regexp(t, `^\d\d:\d\d:\d\d\.\d{3} GET /metadata/identity/oauth2/token 400\n$`, log.String())
}

func testFile(t *testing.T, program string) {
	file := filepath.Join(t.TempDir(), "env")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	cmd := exec.Command(program, "-source", "appservice", "-env", file)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start(t, cmd)
	var content []byte
	for len(content) == 0 { // the file appears atomically with its whole content
		runtime.Gosched()
		content, _ = os.ReadFile(file)
	}
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	shell := exec.Command("sh", "-c", `set -a; . "$0"; echo "$IDENTITY_HEADER $AZURE_CLIENT_ID."`, file)
	shell.Env = append(os.Environ(), "AZURE_CLIENT_ID=of the machine")
	out, err := shell.Output()
	require.NoError(t, err)
	require.Regexp(t, `^[0-9A-F]{32} \.\n$`, string(out))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
	require.Equal(t, "serving until interrupted; in another shell: set -a; . "+file+"; set +a\n", stderr.String())
	require.NoFileExists(t, file, "its addresses are another's now")
}

func testRefuse(t *testing.T, program string) {
	for _, tt := range []struct {
		code    int
		message string
		args    []string
	}{
		{2, "flag provided but not defined: -nonsense", []string{"-nonsense"}},
		{2, ` or identity-binding (a pod of AKS), not "entra"`, []string{"-source", "entra"}},
		{2, "-env is for use without a COMMAND", []string{"-env", "x", "--", "true"}},
		{2, `invalid value "x" for flag -lifetime`, []string{"-lifetime", "x"}},
		{1, "missing port in address", []string{"-listen", "x"}},
		{1, "no such file", []string{"-env", filepath.Join(t.TempDir(), "none", "env")}},
		{0, "usage: emulator", []string{"-h"}},
	} {
		cmd := exec.Command(program, tt.args...)
		out, err := cmd.CombinedOutput()
		require.Equal(t, tt.code, code(err), tt.args)
		require.Contains(t, string(out), tt.message)
	}
}
