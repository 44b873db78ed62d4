// Postgres queries Azure Database for PostgreSQL as the host's managed identity. The server is in PostgreSQL's own variables:
// PGHOST, NAME.postgres.database.azure.com; PGDATABASE; PGSSLMODE, verify-full, since the token is sent as a password in
// clear inside TLS; and PGUSER, the role that pgaadauth_create_principal made for the identity, which has its name.
//
// In the lab the server is a real PostgreSQL, over TLS. It knows no Entra, and asks an LDAP directory about the password. That
// is test code which verifies the token's signature, issuer, audience and life, and that its object ID is the role's.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/managedid/managedid"
)

// configure has each new connection log in with the current token. One that is open outlives its token.
func configure(cred azcore.TokenCredential) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig("") // what the variables say
	if err == nil {
		config.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) error {
			t, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://ossrdbms-aad.database.windows.net/.default"}})
			c.Password = t.Token
			return err
		}
	}
	return config, err
}

func main() {
	log.SetFlags(0)
	cred, err := managedid.NewDefaultAzureCredential(nil)
	if err != nil {
		log.Fatal(err)
	}
	config, err := configure(cred)
	if err != nil {
		log.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		log.Fatal(err)
	}
	var user string
	err = pool.QueryRow(context.Background(), "SELECT current_user").Scan(&user)
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		log.Fatalf("the database answers %s %s (28000, 28P01: PGUSER isn't the identity's role, or the server belongs to another tenant or cloud)", e.Code, e.Message)
	} else if err != nil {
		log.Fatal(strings.Join(strings.Fields(err.Error()), " ")) // pgx's own errors may have several lines
	}
	fmt.Println("connected as", user)
}
