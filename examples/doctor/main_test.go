package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
)

var update = flag.Bool("update", false, "write docs/doctor.md")

const scope = "https://vault.azure.net/.default"

type row struct {
	name   string
	hosts  []managedidtest.Endpoint
	env    string
	fault  managedidtest.Fault
	args   string
	status int
}

const ask = "-scope " + scope

var cases = []row{
	{name: "A machine with nothing", status: 1},
	{name: "A machine with nothing, asked for a token", args: ask, status: 1},
	{name: "A pod without the label of workload identity", env: "KUBERNETES_SERVICE_HOST=10.0.0.1", status: 1},
	{name: "Half of App Service's variables", env: "IDENTITY_ENDPOINT=http://127.0.0.1:1/msi/token " +
		"AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127.0.0.1:1", status: 1},
	{name: "A variable that can't be followed", env: "AZURE_TOKEN_CREDENTIALS=production", status: 1},
	{name: "Half a configuration", hosts: []managedidtest.Endpoint{managedidtest.IMDS},
		env: "AZURE_CLIENT_SECRET=p8~s3cr3t", args: ask, status: 1},
	{name: "A virtual machine", hosts: []managedidtest.Endpoint{managedidtest.IMDS}},
	{name: "A virtual machine, asked for a token", hosts: []managedidtest.Endpoint{managedidtest.IMDS}, args: ask},
	{name: "A virtual machine without the identity that is asked for",
		hosts: []managedidtest.Endpoint{managedidtest.IMDS},
		env:   "AZURE_CLIENT_ID=5f2ad7a1-6b0c-4f7e-9a53-8f1f6a6f0c11", args: ask, status: 1},
	{name: "A virtual machine that throttles", hosts: []managedidtest.Endpoint{managedidtest.IMDS}, status: 1,
		fault: managedidtest.Fault{Endpoint: managedidtest.IMDS, Status: 429,
			Header: map[string][]string{"Retry-After": {"60"}}}},
	{name: "A virtual machine that throttles, asked for a token", hosts: []managedidtest.Endpoint{managedidtest.IMDS},
		args: ask, status: 1,
		fault: managedidtest.Fault{Endpoint: managedidtest.IMDS, Status: 429,
			Header: map[string][]string{"Retry-After": {"60"}}}},
	{name: "Something else at IMDS's address", hosts: []managedidtest.Endpoint{managedidtest.IMDS}, status: 1,
		fault: managedidtest.Fault{Endpoint: managedidtest.IMDS, Status: 403, Body: "<html>",
			Header: map[string][]string{"Server": nil}}},
	{name: "App Service, Functions, Container Apps", hosts: []managedidtest.Endpoint{managedidtest.AppService},
		args: ask},
	{name: "App Service, where nothing listens", env: "IDENTITY_ENDPOINT=http://127.0.0.1:1/msi/token " +
		"IDENTITY_HEADER=s3cr3t", args: "-timeout 2s " + ask, status: 1},
	{name: "An old app, which looks like Azure ML", hosts: []managedidtest.Endpoint{managedidtest.AppService2017},
		args: ask},
	{name: "Azure Arc", hosts: []managedidtest.Endpoint{managedidtest.Arc}, args: ask},
	{name: "Azure ML", hosts: []managedidtest.Endpoint{managedidtest.AzureML}, args: ask},
	{name: "Cloud Shell", hosts: []managedidtest.Endpoint{managedidtest.CloudShell}, args: ask},
	{name: "Service Fabric", hosts: []managedidtest.Endpoint{managedidtest.ServiceFabric}, args: ask},
	{name: "A pod with workload identity", hosts: []managedidtest.Endpoint{managedidtest.Workload, managedidtest.IMDS},
		args: ask},
	{name: "A pod without the file", hosts: []managedidtest.Endpoint{managedidtest.Workload, managedidtest.IMDS},
		env: "AZURE_FEDERATED_TOKEN_FILE=/var/run/secrets/azure/tokens/token", status: 1},
	{name: "A pod of AKS with an identity binding",
		hosts: []managedidtest.Endpoint{managedidtest.IdentityBinding, managedidtest.IMDS}, args: ask, status: 1},
	{name: "An application with a secret",
		hosts: []managedidtest.Endpoint{managedidtest.EntraSecret, managedidtest.IMDS}, args: ask},
	{name: "An application of a tenant that doesn't exist",
		hosts: []managedidtest.Endpoint{managedidtest.EntraSecret, managedidtest.IMDS},
		env:   "AZURE_TENANT_ID=contoso.example", status: 1},
	{name: "An application with a certificate",
		hosts: []managedidtest.Endpoint{managedidtest.EntraCertificate, managedidtest.IMDS}, args: ask},
}

// TestDoctor runs the program on each kind of host. The flag -update writes the output to docs/doctor.md.
func TestDoctor(t *testing.T) {
	if runtime.GOOS != "linux" || exec.Command("unshare", "-rnm", "true").Run() != nil {
		require.Empty(t, os.Getenv("CI"), "unshare must work in CI")
		t.Skip("needs Linux, and unshare (util-linux) with the right to make namespaces")
	}
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-o", dir+"/", ".", "../emulator").CombinedOutput()
	require.NoError(t, err, "%s", out)
	var page strings.Builder
	page.WriteString("# What the doctor says\n\n`go test ./examples/doctor -update` writes this page: " +
		"`examples/doctor` on each kind of host, as the emulator plays it. " +
		"Ports, times and made-up IDs are left out.\n")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			args, env := c.command(t, dir)
			cmd := run(args, env)
			out, err := cmd.Output()
			require.Equal(t, c.status, cmd.ProcessState.ExitCode(), "%v\n%s", err, out)
			require.NotContains(t, string(out), "s3cr3t")
			fmt.Fprintf(&page, "\n## %s\n\n```\n$ %s; echo $?\n%s%d\n```\n", c.name,
				strings.TrimSpace("doctor "+c.args), stable(string(out)), c.status)

			printed, _ := run(append(args, "-json"), env).Output()
			var d diagnosis
			require.NoError(t, json.Unmarshal(printed, &d), "%s", printed)
			require.Equal(t, c.status == 0, d.Healthy)
			require.NotEmpty(t, d.Verdict)
			require.NotContains(t, string(printed), "s3cr3t")
		})
	}
	golden := filepath.Join("..", "..", "docs", "doctor.md")
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(page.String()), 0o666))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), page.String())
}

func TestDoctor_refusesWhatItCannotFollow(t *testing.T) {
	doctor := filepath.Join(t.TempDir(), "doctor")
	out, err := exec.Command("go", "build", "-o", doctor, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, args := range [][]string{{"-nonsense"}, {"x"}, {"-scope", ""}, {"-timeout", "0s"}} {
		cmd := exec.Command(doctor, args...)
		out, _ := cmd.CombinedOutput()
		require.Equal(t, 2, cmd.ProcessState.ExitCode(), args)
		require.Contains(t, string(out), "usage: doctor")
	}
}

func run(args, env []string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = env
	return cmd
}

// command returns the arguments and the environment of the program for the host of the row.
func (c *row) command(t *testing.T, dir string) (args, env []string) {
	args = append([]string{filepath.Join(dir, "doctor")}, strings.Fields(c.args)...)
	env = append(strings.Fields(c.env), "PATH="+os.Getenv("PATH"))
	switch {
	case strings.Contains(c.env, "IDENTITY_ENDPOINT"):
		return args, env
	case len(c.hosts) == 0: // in a network that reaches nothing
		return append([]string{"unshare", "-rn"}, args...), env
	case c.hosts[0] == managedidtest.Arc: // its keys must be in /var/opt
		return append([]string{"unshare", "-rm", "sh", "-c", `mount -t tmpfs none /var/opt && exec "$@"`, "sh",
			filepath.Join(dir, "emulator"), "-source", "arc", "--"}, args...), env
	}
	srv := managedidtest.NewServer(nil)
	t.Cleanup(srv.Close)
	for _, host := range c.hosts {
		srv.Setenv(t, host) // creates the files
	}
	if c.fault.Status != 0 {
		srv.Inject(c.fault)
	}
	roots := filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t, os.WriteFile(roots, srv.CertificatePEM(), 0o600))
	env = append(env, "SSL_CERT_FILE="+roots)
	for name, value := range srv.Environ(c.hosts...) {
		if !strings.HasPrefix(c.env, name+"=") {
			env = append(env, name+"="+value)
		}
	}
	return args, env
}

// stable replaces the parts of the output that differ in every run.
func stable(s string) string {
	for _, r := range [][2]string{{`127\.0\.0\.1:\d+|localhost:\d+`, "127.0.0.1:PORT"},
		{`after [0-9.]+(µs|ms|s)`, "after …"}, {`(until|RetryAfter:) \d{4}-[^ )\n]+Z`, "$1 …"},
		{`=/\S*/`, "=/…/"}, {`file( +)/\S*/`, "file$1/…/"}, {`[0-9A-F]{40}`, "SHA-1"}} {
		s = regexp.MustCompile(r[0]).ReplaceAllString(s, r[1])
	}
	return s
}

func TestDiagnosis_healthy(t *testing.T) {
	newLink := func(s managedid.LinkState, source managedid.Source, p *managedid.Probe) link {
		l := link{Link: managedid.Link{State: s, Source: string(source), Probe: p}}
		if s == managedid.LinkIncomplete {
			l.Problem = "x"
		}
		return l
	}
	throttling := link{Link: managedid.Link{State: managedid.LinkConfigured, Source: "IMDS",
		ThrottledUntil: time.Now()}}
	absent, there := &managedid.Probe{}, &managedid.Probe{Present: true}
	none, half, set := managedid.LinkNotConfigured, managedid.LinkIncomplete, managedid.LinkConfigured
	for name, row := range map[string]struct {
		links []link
		want  bool
	}{
		"nothing": {nil, false},
		"a half": {[]link{newLink(none, "", nil), newLink(half, "", nil),
			newLink(set, managedid.SourceIMDS, there)}, false},
		"no IMDS": {[]link{newLink(set, managedid.SourceIMDS, absent)}, false},
		"no IMDS, but another": {[]link{newLink(set, managedid.SourceIMDS, absent),
			newLink(set, "Entra", there)}, true},
		"an announced one is missing": {[]link{newLink(set, "Entra", absent),
			newLink(set, managedid.SourceIMDS, there)}, false},
		"it throttles":     {[]link{throttling}, false},
		"nobody was asked": {[]link{newLink(set, managedid.SourceIMDS, nil)}, true},
	} {
		d := diagnosis{Links: row.links}
		d.judge()
		require.Equal(t, row.want, d.Healthy, name)
	}
}

func TestTable_colours(t *testing.T) {
	paint := func(colour int, text string) string { return fmt.Sprintf("<%d %s>", colour, text) }
	d := diagnosis{Links: []link{{Link: managedid.Link{Credential: "A", State: managedid.LinkNotConfigured}},
		{Link: managedid.Link{Credential: "B", State: managedid.LinkIncomplete, Problem: "x"}}}, Verdict: "no"}
	require.Equal(t, fmt.Sprintf("1. %-28s <90 not configured>\n2. %-28s <31 partially configured>\n<31    "+
		"problem   x>\n<31 no>\n", "A", "B"), d.table(paint))
}
