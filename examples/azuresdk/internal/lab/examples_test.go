package lab

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// examples are run as on Azure: as processes of their own, which know nothing of the lab. The faults' outputs are parts of
// the one line that each prints.
var examples = []struct {
	name              string
	start             func(*Lab) error
	resource          string // that the metadata service is asked for
	output            string // a regular expression
	revoked, audience string
}{
	{"blob", (*Lab).Blob, "https://storage.azure.com", `^hello from a blob\n$`,
		"no managed identity is assigned to this host; assign one", "the storage account answers 403 AuthenticationFailed"},
	{"keyvault", (*Lab).KeyVault, "https://vault.azure.net", `^database-password has 16 characters\n$`,
		"no managed identity is assigned to this host; assign one", "the vault answers 401 Unauthorized"},
	{"rest", (*Lab).REST, "https://orders.example", `^{"appid":"[0-9a-f-]{36}","aud":"https://orders.example","oid":"[0-9a-f-]{36}"}\n$`,
		"no managed identity is assigned to this host; assign one", "the API answers 401 Unauthorized"},
	{"federated", (*Lab).Federated, "api://AzureADTokenExchange", `^database-password has 16 characters\n$`,
		"is assigned to this host; assign it", "no federated credential of the application has the assertion's issuer, subject and audience; add or correct one"},
	{"sql", (*Lab).SQL, "https://database.windows.net", `^the database answers 42\n$`,
		"no managed identity is assigned to this host; assign one", "the database answers 18456"},
	{"postgres", (*Lab).Postgres, "https://ossrdbms-aad.database.windows.net", `^connected as lab-identity-0\n$`,
		"no managed identity is assigned to this host; assign one", "the database answers 28000"},
	{"redis", (*Lab).Redis, "https://redis.azure.com", `^visits: 1\n$`,
		"no managed identity is assigned to this host; assign one", "redis answers WRONGPASS"},
	{"connectionstring", (*Lab).ConnectionString, "https://vault.azure.net", `^connected as lab-password\n$`,
		"no managed identity is assigned to this host; assign one", "the vault answers 401 Unauthorized"},
}

// start starts a service.
func start(t *testing.T, l *Lab, service func(*Lab) error) {
	t.Helper()
	skipWhereMissing(t, service(l))
}

// skipWhereMissing skips the test where the machine lacks something, but not in CI. It takes no other error.
func skipWhereMissing(t *testing.T, err error) {
	t.Helper()
	if missing, ok := errors.AsType[*MissingError](err); ok && os.Getenv("CI") == "" {
		t.Skip(missing)
	}
	require.NoError(t, err)
}

// run runs an example's program, and returns what it wrote.
func run(t *testing.T, l *Lab, name string) (stdout, stderr string, err error) {
	t.Helper()
	cmd, err := l.Example(t.Context(), name)
	require.NoError(t, err)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err = cmd.Run()
	return out.String(), problems.String(), err
}

// tokens returns the requests to the metadata service.
func tokens(l *Lab) (all []managedidtest.Request) {
	for _, r := range l.Emulator.Requests() {
		if r.Endpoint == managedidtest.IMDS {
			all = append(all, r)
		}
	}
	return all
}

func TestExamples(t *testing.T) {
	for _, tt := range examples {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			start(t, l, tt.start)
			stdout, stderr, err := run(t, l, tt.name)
			require.NoError(t, err, stderr)
			require.Regexp(t, tt.output, stdout)
			require.Empty(t, stderr)
			asked := tokens(l)
			require.Len(t, asked, 1)
			require.Equal(t, tt.resource, asked[0].Resource)

			before := len(asked)
			require.NoError(t, Faults["audience"](l))
			requireOneLine(t, l, tt.name, tt.audience)
			require.Equal(t, tt.resource, tokens(l)[before+1].Resource)
			l.Emulator.ClearFaults()
			require.NoError(t, Faults["revoked"](l))
			requireOneLine(t, l, tt.name, tt.revoked)
		})
	}
}

// requireOneLine runs an example that must fail with one line.
func requireOneLine(t *testing.T, l *Lab, name, want string) {
	t.Helper()
	stdout, stderr, err := run(t, l, name)
	require.Error(t, err)
	require.Empty(t, stdout)
	require.Contains(t, stderr, want)
	require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	require.False(t, strings.Contains(stderr, "eyJ"), "there is a token in it")
}

func TestExamples_areShort(t *testing.T) {
	for _, tt := range examples {
		files, err := filepath.Glob(filepath.Join("..", "..", tt.name, "*.go"))
		require.NoError(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Less(t, bytes.Count(source, []byte("\n")), 60, file)
			require.False(t, bytes.Contains(source, []byte("managedidtest")), file)
		}
	}
}

func TestExamples_userAssigned(t *testing.T) {
	l := newLab(t)
	start(t, l, (*Lab).Blob)
	id := l.Emulator.UserAssigned()[0].ClientID
	l.Setenv("Managed_Identity_Client_ID", id)
	stdout, stderr, err := run(t, l, "blob")
	require.NoError(t, err, stderr)
	require.Equal(t, "hello from a blob\n", stdout)
	require.Equal(t, id, tokens(l)[0].Identity)
}
