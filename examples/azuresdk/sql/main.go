// Sql queries Azure SQL as the host's managed identity. AZURE_SQL_URL is
// sqlserver://NAME.database.windows.net?database=DATABASE&encrypt=strict, without a user. The database needs a user for the
// identity: CREATE USER [NAME OF THE IDENTITY] FROM EXTERNAL PROVIDER.
//
// In the lab there is no SQL Server: none runs there that takes tokens. What answers is a responder of test code that plays
// the login of TDS 8.0, over TLS, and verifies the token's signature, issuer, audience and life. It knows no users, has no
// databases, and answers nothing but SELECT with a number. Real are the driver, its use of the token, and the token.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/managedid/managedid"
	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"
)

func main() {
	log.SetFlags(0)
	cred, err := managedid.NewDefaultAzureCredential(nil)
	if err != nil {
		log.Fatal(err)
	}
	config, err := msdsn.Parse(os.Getenv("AZURE_SQL_URL"))
	if err != nil {
		log.Fatal(err)
	}
	config.TLSConfig = nil // each connection makes its own: go-mssqldb v1.11.2 writes to one that they share
	// called for each physical connection, with the context of who waits for it; a connection outlives its token
	getToken := func(ctx context.Context) (string, error) {
		t, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://database.windows.net/.default"}})
		return t.Token, err
	}
	connector, err := mssql.NewSecurityTokenConnector(config, getToken)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	var answer int
	err = db.QueryRowContext(context.Background(), "SELECT 42").Scan(&answer)
	if e, ok := errors.AsType[mssql.Error](err); ok {
		log.Fatalf("the database answers %d %s (18456: create a user for the identity in the database, and the database has to be of its tenant and cloud)",
			e.Number, e.Message)
	} else if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the database answers", answer)
}
