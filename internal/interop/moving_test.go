package interop

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

const (
	pathOfTheirs = "github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	pathOfOurs   = "github.com/managedid/managedid"
)

// program is the command moving, built with one of the packages.
type program struct{ name, path string }

// outcome is the result that the program writes.
type outcome struct {
	Token               string `json:",omitempty"`
	Made, Failed, Final bool
	Status              int
	Error               string
}

// build compiles the same files twice: as they are, and with the one import changed.
func build(t *testing.T) []program {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	files, err := filepath.Glob(filepath.Join("moving", "*.go"))
	require.NoError(t, err)
	for _, file := range files {
		path, err := filepath.Abs(file)
		require.NoError(t, err)
		source, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, 1, bytes.Count(source, []byte(pathOfTheirs)))
		source = bytes.ReplaceAll(source, []byte(`"`+pathOfTheirs+`"`), []byte(`azidentity "`+pathOfOurs+`"`))
		replace[path] = filepath.Join(dir, filepath.Base(file))
		require.NoError(t, os.WriteFile(replace[path], source, 0o600))
	}
	overlay := filepath.Join(dir, "overlay.json")
	content, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(overlay, content, 0o600))
	theirs, ours := program{"azidentity", filepath.Join(dir, "azidentity.exe")}, program{"managedid", filepath.Join(dir, "managedid.exe")}
	for _, arguments := range [][]string{{"-o", theirs.path}, {"-o", ours.path, "-overlay", overlay}} {
		out, err := exec.Command("go", append(append([]string{"build"}, arguments...), "./moving")...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	return []program{theirs, ours}
}

// run starts the program in the test's environment. Nothing of its output is shown: it has a token.
func (p program) run(t *testing.T, arguments ...string) (o outcome) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), p.path, arguments...).Output()
	if e, ok := err.(*exec.ExitError); ok {
		require.NoError(t, err, "%s", e.Stderr)
	}
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(out, &o))
	return o
}

// stage is an emulator, and the arguments of the program's credentials in the environment.
func stage(t *testing.T, hosts ...managedidtest.Endpoint) *managedidtest.Server {
	t.Helper()
	o := options()
	o.OtherTenants = []string{otherTenant}
	s := managedidtest.NewServer(o)
	t.Cleanup(s.Close)
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	require.NoError(t, os.WriteFile(ca, s.CertificatePEM(), 0o600))
	s.Setenv(t, hosts...)
	app := s.Applications()[0]
	for name, value := range map[string]string{"CA": ca, "TENANT": s.TenantID(), "CLIENT": app.ClientID, "SECRET": app.Secrets[0].Value} {
		t.Setenv("MOVING_"+name, value)
	}
	t.Setenv("AZURE_AUTHORITY_HOST", s.AuthorityHost)
	return s
}

const (
	otherTenant = "0b4ff0a1-0000-4000-8000-0000000000ff"
	cloudShell  = "7384ad1c-8ed3-515d-94c0-351070e60c06" // the emulator's application for a shell's user
)

// tokenFile and certificateFile make MOVING_FILE.
func tokenFile(t *testing.T, s *managedidtest.Server) {
	f, err := s.NewTokenFile(t.TempDir(), nil)
	require.NoError(t, err)
	t.Setenv("MOVING_FILE", f.Path)
}

func certificateFile(t *testing.T, s *managedidtest.Server) {
	f, err := s.NewCertificateFile(t.TempDir())
	require.NoError(t, err)
	t.Setenv("MOVING_FILE", f.Path)
}

// named makes the identity of the host whose ID, of a kind, is in MOVING_ID.
func named(kind int) func(*testing.T, *managedidtest.Server) {
	return func(t *testing.T, _ *managedidtest.Server) { t.Setenv("MOVING_ID", idOf(kind)) }
}

func set(name, value string) func(*testing.T, *managedidtest.Server) {
	return func(t *testing.T, _ *managedidtest.Server) { t.Setenv(name, value) }
}

// tool puts a program on the path that gives a token, in the form of az or azd.
func tool(name, form string) func(*testing.T, *managedidtest.Server) {
	return func(t *testing.T, _ *managedidtest.Server) {
		if runtime.GOOS == "windows" {
			t.Skip("the program is a shell's script")
		}
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho '"+form+"'\n"), 0o700))
		t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	}
}

// alike are the credentials that give the same token, or fail in the same way.
var alike = []struct {
	name   string
	run    []string // the program's arguments
	host   managedidtest.Endpoint
	stage  func(*testing.T, *managedidtest.Server)
	client string // whose token; zero: the application's
	status int    // of the refusal
}{
	{name: "default chain to a secret", run: []string{"default"}, host: managedidtest.EntraSecret},
	{name: "default chain to a certificate", run: []string{"default"}, host: managedidtest.EntraCertificate},
	{name: "default chain to workload identity", run: []string{"default"}, host: managedidtest.Workload},
	{name: "default chain to the host's identity", run: []string{"default"}, host: managedidtest.AppService, client: "the host's"},
	{name: "default chain, named by AZURE_CLIENT_ID", run: []string{"default"}, host: managedidtest.AppService,
		stage: set("AZURE_CLIENT_ID", user.ClientID), client: user.ClientID},
	{name: "default chain, one selected", run: []string{"selected"}, host: managedidtest.Workload, stage: set("AZURE_TOKEN_CREDENTIALS", "workloadidentitycredential")},
	{name: "default chain, prod", run: []string{"selected"}, host: managedidtest.AppService, stage: set("AZURE_TOKEN_CREDENTIALS", "prod"), client: "the host's"},
	{name: "default chain, nothing selected", run: []string{"selected"}, host: managedidtest.AppService, client: "none"},
	{name: "environment", run: []string{"environment"}, host: managedidtest.EntraSecret},
	{name: "environment, wrong secret", run: []string{"environment"}, host: managedidtest.EntraSecret, stage: set("AZURE_CLIENT_SECRET", "wrong"), status: 401},
	{name: "environment, another tenant", run: []string{"environment", otherTenant}, host: managedidtest.EntraSecret,
		stage: set("AZURE_ADDITIONALLY_ALLOWED_TENANTS", otherTenant)},
	{name: "workload identity", run: []string{"workload", otherTenant}, host: managedidtest.Workload},
	{name: "workload identity by options", run: []string{"workload by options"}, host: managedidtest.IMDS, stage: tokenFile},
	{name: "system-assigned", run: []string{"system-assigned"}, host: managedidtest.AppService, client: "the host's"},
	{name: "client ID", run: []string{"client ID"}, host: managedidtest.AppService, stage: named(byClientID), client: user.ClientID},
	{name: "object ID", run: []string{"object ID"}, host: managedidtest.AppService, stage: named(byObjectID), client: user.ClientID},
	{name: "resource ID", run: []string{"resource ID"}, host: managedidtest.AppService, stage: named(byResourceID), client: user.ClientID},
	{name: "client ID at Azure ML", run: []string{"client ID"}, host: managedidtest.AzureML, stage: named(byClientID), client: user.ClientID},
	{name: "object ID at Azure ML, which takes none", run: []string{"object ID"}, host: managedidtest.AzureML, stage: named(byObjectID), client: "none"},
	{name: "unknown client ID", run: []string{"client ID"}, host: managedidtest.AppService, stage: set("MOVING_ID", otherTenant), status: 400},
	{name: "Cloud Shell", run: []string{"system-assigned"}, host: managedidtest.CloudShell, client: cloudShell},
	{name: "Service Fabric", run: []string{"system-assigned"}, host: managedidtest.ServiceFabric, client: "the host's"},
	{name: "secret", run: []string{"secret"}, host: managedidtest.IMDS},
	{name: "secret, another tenant", run: []string{"secret", otherTenant}, host: managedidtest.IMDS},
	{name: "wrong secret", run: []string{"secret"}, host: managedidtest.IMDS, stage: set("MOVING_SECRET", "wrong"), status: 401},
	{name: "unknown application", run: []string{"secret"}, host: managedidtest.IMDS, stage: set("MOVING_CLIENT", otherTenant), status: 400},
	{name: "certificate", run: []string{"certificate"}, host: managedidtest.IMDS, stage: certificateFile},
	{name: "assertion", run: []string{"assertion", otherTenant}, host: managedidtest.IMDS, stage: tokenFile},
	{name: "chain", run: []string{"chain"}, host: managedidtest.AppService, client: "the host's"},
	{name: "chain that stops", run: []string{"chain that stops"}, host: managedidtest.AppService, stage: set("MOVING_SECRET", "wrong"), status: 401},
	{name: "chain that stays", run: []string{"chain that stops"}, host: managedidtest.AppService},
	{name: "az", run: []string{"az"}, host: managedidtest.IMDS, stage: tool("az", `{"accessToken":"a.b.c","expires_on":4102444800}`), client: "a developer's"},
	{name: "azd", run: []string{"azd"}, host: managedidtest.IMDS, stage: tool("azd", `{"token":"a.b.c","expiresOn":"2100-01-01T00:00:00Z"}`), client: "a developer's"},
}

func TestMoving_theSameProgramGetsTheSameTokens(t *testing.T) {
	programs := build(t)
	for _, tt := range alike {
		t.Run(tt.name, func(t *testing.T) {
			s := stage(t, tt.host)
			if tt.stage != nil {
				tt.stage(t, s)
			}
			for _, p := range programs {
				o := p.run(t, tt.run...)
				if tt.client == "none" {
					require.False(t, o.Made, p.name)
					continue
				}
				require.True(t, o.Made, "%s: %s", p.name, o.Error)
				require.Equal(t, tt.status, o.Status, "%s: %s", p.name, o.Error)
				if tt.status != 0 {
					require.True(t, o.Failed && o.Final, "%s: %s", p.name, o.Error)
					continue
				}
				require.Empty(t, o.Error, p.name)
				checkToken(t, s, o.Token, tt.client, tt.run[1:])
			}
		})
	}
}

// checkToken asserts whose token it is.
func checkToken(t *testing.T, s *managedidtest.Server, token, client string, tenant []string) {
	t.Helper()
	switch client {
	case "a developer's":
		require.True(t, token == "a.b.c")
		return
	case "the host's":
		client = s.SystemAssigned().ClientID
	case "":
		client = s.Applications()[0].ClientID
	}
	claims, err := managedidtest.VerifyToken(t.Context(), s.Client(), s.JWKSURL(), token, vault)
	require.NoError(t, err)
	require.Equal(t, client, claims.ClientID)
	require.Equal(t, append(tenant, s.TenantID())[0], claims.TenantID)
}
