package lab

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
)

// tokenOf gets a token of an emulator's identity; a nil ID means the system-assigned one.
func tokenOf(t *testing.T, e *managedidtest.Emulator, id managedid.ManagedIDKind, scope string) string {
	t.Helper()
	e.Setenv(t, managedidtest.AppService)
	cred, err := managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: e}, ID: id})
	require.NoError(t, err)
	token, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{scope}})
	require.NoError(t, err)
	return token.Token
}

const (
	postgresScope = "https://ossrdbms-aad.database.windows.net/.default"
	redisScope    = "https://redis.azure.com/.default"
)

func TestCheckRole(t *testing.T) {
	l := newLab(t)
	other := managedidtest.New(&managedidtest.Options{TenantID: customer, SystemAssigned: new(l.Emulator.SystemAssigned())})
	user := managedid.ClientID(l.Emulator.UserAssigned()[0].ClientID)
	for _, tt := range []struct {
		name, role, token, problem string
		ahead                      time.Duration
	}{
		{"its role", "lab-identity-0", tokenOf(t, l.Emulator.Emulator, nil, postgresScope), "", 0},
		{"a user-assigned identity's role", "lab-identity-1", tokenOf(t, l.Emulator.Emulator, user, postgresScope), "", 0},
		{"another's role", "lab-identity-0", tokenOf(t, l.Emulator.Emulator, user, postgresScope), "another role's", 0},
		{"no role", "postgres", tokenOf(t, l.Emulator.Emulator, nil, postgresScope), "another role's", 0},
		{"another audience", "lab-identity-0", tokenOf(t, l.Emulator.Emulator, nil, redisScope), "another audience", 0},
		{"another tenant", "lab-identity-0", tokenOf(t, other, nil, postgresScope), "another tenant", 0},
		{"an end in the past", "lab-identity-0", tokenOf(t, l.Emulator.Emulator, nil, postgresScope), "has expired", time.Hour},
		{"no token", "lab-identity-0", "made-up password", "no JWT", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.ClockAhead = tt.ahead
			err := l.checkRole(t.Context(), tt.role, tt.token)
			if tt.problem == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.problem)
		})
	}
}

func TestRedis_users(t *testing.T) {
	l := newLab(t)
	l.ClockAhead = time.Hour - 4*time.Second // so that a connection ends with its token soon
	start(t, l, (*Lab).Redis)
	user := managedid.ClientID(l.Emulator.UserAssigned()[0].ClientID)
	own, others := tokenOf(t, l.Emulator.Emulator, nil, redisScope), tokenOf(t, l.Emulator.Emulator, user, redisScope)

	roots := x509.NewCertPool()
	roots.AddCert(l.authority.certificate)
	conn, err := tls.Dial("tcp", l.getenv("REDIS_ADDR"), &tls.Config{RootCAs: roots})
	require.NoError(t, err)
	defer conn.Close()
	in := bufio.NewReader(conn)
	id := l.Emulator.SystemAssigned().ObjectID
	for _, tt := range []struct {
		command []string
		answer  string
	}{
		{[]string{"PING"}, "-NOAUTH"},
		{[]string{"AUTH", id, others}, "-WRONGPASS"},
		{[]string{"auth", "default", own}, "-WRONGPASS"},
		{[]string{"AUTH", id, own}, "+OK"},
		{[]string{"PING"}, "+PONG"},
		{[]string{"AUTH", id, others}, "-WRONGPASS"}, // leaves the user that it was
		{[]string{"PING"}, "+PONG"},
	} {
		fmt.Fprintf(conn, "*%d\r\n", len(tt.command))
		for _, argument := range tt.command {
			fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(argument), argument)
		}
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, tt.answer)
	}
	_, err = in.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

func TestConnectionString_wrongPassword(t *testing.T) {
	l := newLab(t)
	start(t, l, (*Lab).ConnectionString)
	l.Setenv("DATABASE_URL", strings.Replace(l.getenv("DATABASE_URL"), passwordRole, "postgres", 1))
	requireOneLine(t, l, "connectionstring", "the database answers 28P01")
	l.Setenv("DATABASE_URL", "postgres://"+passwordRole+"@127.0.0.1:1/postgres")
	requireOneLine(t, l, "connectionstring", "connection refused")
}
