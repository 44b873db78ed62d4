// Connectionstring connects to a database that knows no Entra. Its password is a secret in Key Vault, which is read as the
// host's managed identity and put in the connection string at run time: it is in no file, variable or image. DATABASE_URL is
// the string without it, postgres://USER@HOST/DATABASE?sslmode=verify-full; AZURE_KEYVAULT_URL and SECRET_NAME say where the
// password is. The identity needs the role Key Vault Secrets User.
//
// In the lab the database is a real PostgreSQL, over TLS. For the vault see the example keyvault.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/managedid/managedid"
)

func main() {
	log.SetFlags(0)
	ctx := context.Background()
	cred, err := managedid.NewDefaultAzureCredential(nil)
	if err != nil {
		log.Fatal(err)
	}
	vault, err := azsecrets.NewClient(os.Getenv("AZURE_KEYVAULT_URL"), cred, nil)
	if err != nil {
		log.Fatal(err)
	}
	secret, err := vault.GetSecret(ctx, os.Getenv("SECRET_NAME"), "", nil)
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		log.Fatalf("the vault answers %d %s (401: it belongs to another tenant or cloud; 403: give the identity the role "+
			"Key Vault Secrets User; 404: mend SECRET_NAME)", e.StatusCode, e.ErrorCode)
	} else if err != nil {
		log.Fatal(err)
	}
	config, err := pgx.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	config.Password = *secret.Value // instead of a string with it, which an error might show
	conn, err := pgx.ConnectConfig(ctx, config)
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		log.Fatalf("the database answers %s %s (28P01: the secret SECRET_NAME isn't the password of the user in DATABASE_URL)", e.Code, e.Message)
	} else if err != nil {
		log.Fatal(strings.Join(strings.Fields(err.Error()), " ")) // pgx's own errors may have several lines
	}
	defer conn.Close(ctx)
	fmt.Println("connected as", config.User)
}
