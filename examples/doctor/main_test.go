package main

import (
	"bytes"
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

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/doctor.md")

const scope = "https://vault.azure.net/.default"

var cases = []struct {
	name   string
	hosts  []managedidtest.Endpoint
	env    string
	fault  managedidtest.Fault
	args   string
	status int
}{
	{name: "A machine with nothing", status: 0},
	{name: "Half a configuration", hosts: []managedidtest.Endpoint{managedidtest.IMDS}, env: "AZURE_CLIENT_SECRET=p8~s3cr3t", args: "-scope " + scope, status: 1},
	{name: "A variable that can't be followed", env: "AZURE_TOKEN_CREDENTIALS=production", status: 1},
	{name: "A virtual machine", hosts: []managedidtest.Endpoint{managedidtest.IMDS}, args: "-probe -scope " + scope},
	{name: "A virtual machine without the identity that is asked for", hosts: []managedidtest.Endpoint{managedidtest.IMDS}, env: "AZURE_CLIENT_ID=5f2ad7a1-6b0c-4f7e-9a53-8f1f6a6f0c11",
		args: "-scope " + scope, status: 1},
	{name: "An endpoint that throttles", hosts: []managedidtest.Endpoint{managedidtest.IMDS}, args: "-scope " + scope, status: 1,
		fault: managedidtest.Fault{Endpoint: managedidtest.IMDS, Status: 429, Header: map[string][]string{"Retry-After": {"60"}}}},
	{name: "App Service, Functions, Container Apps", hosts: []managedidtest.Endpoint{managedidtest.AppService}, args: "-probe -scope " + scope},
	{name: "Azure ML", hosts: []managedidtest.Endpoint{managedidtest.AzureML}, args: "-probe -scope " + scope},
	{name: "Cloud Shell", hosts: []managedidtest.Endpoint{managedidtest.CloudShell}, args: "-probe -scope " + scope},
	{name: "Service Fabric", hosts: []managedidtest.Endpoint{managedidtest.ServiceFabric}, args: "-probe -scope " + scope},
	{name: "A pod with workload identity", hosts: []managedidtest.Endpoint{managedidtest.Workload, managedidtest.IMDS}, args: "-probe -scope " + scope, status: 0},
	{name: "An application with a secret", hosts: []managedidtest.Endpoint{managedidtest.EntraSecret, managedidtest.IMDS}, args: "-probe -scope " + scope},
	{name: "An application with a certificate", hosts: []managedidtest.Endpoint{managedidtest.EntraCertificate, managedidtest.IMDS}, args: "-probe -scope " + scope},
}

// TestDoctor runs the program on each kind of host. -update writes what it says to docs/doctor.md.
func TestDoctor(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Go reads SSL_CERT_FILE on Linux only")
	}
	doctor := filepath.Join(t.TempDir(), "doctor")
	out, err := exec.Command("go", "build", "-o", doctor, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	var page strings.Builder
	page.WriteString("# What the doctor says\n\n`go test ./examples/doctor -update` writes this page: `examples/doctor` on each kind of host, as the emulator plays it. Ports, times and made-up IDs are left out.\n")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			srv := managedidtest.NewServer(nil)
			t.Cleanup(srv.Close)
			for _, host := range c.hosts {
				srv.Setenv(t, host) // makes files
			}
			if c.fault.Status != 0 {
				srv.Inject(c.fault)
			}
			env := []string{"PATH=" + os.Getenv("PATH"), c.env}
			for name, value := range srv.Environ(c.hosts...) {
				if !strings.HasPrefix(c.env, name+"=") {
					env = append(env, name+"="+value)
				}
			}
			if len(c.hosts) > 1 {
				roots := filepath.Join(t.TempDir(), "roots.pem")
				require.NoError(t, os.WriteFile(roots, srv.CertificatePEM(), 0o600))
				env = append(env, "SSL_CERT_FILE="+roots)
			}
			cmd := exec.Command(doctor, strings.Fields(c.args)...)
			cmd.Env = env
			out, _ := cmd.CombinedOutput()
			require.Equal(t, c.status, cmd.ProcessState.ExitCode(), "%s", out)
			require.NotContains(t, string(out), "s3cr3t")
			fmt.Fprintf(&page, "\n## %s\n\n```\n$ %s; echo $?\n%s%d\n```\n", c.name, strings.TrimSpace("doctor "+c.args), stable(string(out)), c.status)

			cmd = exec.Command(doctor, append(strings.Fields(c.args), "-json")...)
			cmd.Env = env
			if printed, _ := cmd.Output(); len(printed) > 0 {
				var d diagnosis
				require.NoError(t, json.NewDecoder(bytes.NewReader(printed)).Decode(&d))
				require.NotEmpty(t, d.Links)
				require.NotContains(t, string(printed), "s3cr3t")
			}
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

// stable leaves out what is another each time.
func stable(s string) string {
	for _, r := range [][2]string{{`127\.0\.0\.1:\d+|localhost:\d+`, "127.0.0.1:PORT"}, {`after [0-9.]+(µs|ms|s)`, "after …"}, {`until \d{4}-\S+Z`, "until …"},
		{`=/\S*/`, "=/…/"}, {`the file /\S*/`, "the file /…/"}, {`[0-9A-F]{40}`, "SHA-1"}} {
		s = regexp.MustCompile(r[0]).ReplaceAllString(s, r[1])
	}
	return s
}

func TestHealthy(t *testing.T) {
	link := func(s managedid.LinkState, p *managedid.ProbeReport) managedid.LinkReport {
		return managedid.LinkReport{State: s, Probe: p}
	}
	absent, there := &managedid.ProbeReport{}, &managedid.ProbeReport{Present: true}
	for name, row := range map[string]struct {
		links []managedid.LinkReport
		want  bool
	}{
		"nothing":          {nil, false},
		"a half":           {[]managedid.LinkReport{link(managedid.LinkNotConfigured, nil), link(managedid.LinkIncomplete, nil), link(managedid.LinkConfigured, there)}, false},
		"absent":           {[]managedid.LinkReport{link(managedid.LinkConfigured, absent)}, false},
		"the second one":   {[]managedid.LinkReport{link(managedid.LinkConfigured, absent), link(managedid.LinkConfigured, there)}, true},
		"nobody was asked": {[]managedid.LinkReport{link(managedid.LinkConfigured, nil)}, true},
	} {
		require.Equal(t, row.want, (&diagnosis{Report: managedid.Report{Links: row.links}}).healthy(), name)
	}
}
