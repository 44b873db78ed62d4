package lab

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
)

// services are those that one process uses: how the lab starts each, the resource of its tokens, and how a client is made
// for an operation that takes one.
var services = []struct {
	start    func(*Lab) error
	resource string
	client   func(azcore.TokenCredential) (operation, error)
}{
	{(*Lab).Blob, "https://storage.azure.com", downloads},
	{(*Lab).KeyVault, "https://vault.azure.net", getsSecret},
	{(*Lab).SQL, "https://database.windows.net", queries},
}

type operation func(context.Context) error

func downloads(cred azcore.TokenCredential) (operation, error) {
	client, err := blob.NewClient(os.Getenv("AZURE_BLOB_URL"), cred, nil)
	return func(ctx context.Context) error {
		resp, err := client.DownloadStream(ctx, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return errors.Join(err, resp.Body.Close())
	}, err
}

func getsSecret(cred azcore.TokenCredential) (operation, error) {
	client, err := azsecrets.NewClient(os.Getenv("AZURE_KEYVAULT_URL"), cred, nil)
	return func(ctx context.Context) error {
		_, err := client.GetSecret(ctx, os.Getenv("SECRET_NAME"), "", nil)
		return err
	}, err
}

func queries(cred azcore.TokenCredential) (operation, error) {
	config, err := msdsn.Parse(os.Getenv("AZURE_SQL_URL"))
	if err != nil {
		return nil, err
	}
	config.TLSConfig = nil // as in the example
	connector, err := mssql.NewSecurityTokenConnector(config, func(ctx context.Context) (string, error) {
		t, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://database.windows.net/.default"}})
		return t.Token, err
	})
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	return func(ctx context.Context) error {
		var answer int
		return db.QueryRowContext(ctx, "SELECT 42").Scan(&answer)
	}, nil
}

// child names the part that this binary plays in the lab's environment.
const child = "LAB_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) == "services" {
		if err := useServices(1000); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// useServices does many operations at each of the services with one credential, eight at a time.
func useServices(times int) error {
	cred, err := managedid.NewDefaultAzureCredential(nil)
	if err != nil {
		return err
	}
	var work sync.WaitGroup
	failed := make(chan error, 8*len(services))
	for _, s := range services {
		do, err := s.client(cred)
		if err != nil {
			return err
		}
		for range 8 {
			work.Go(func() {
				for range times / 8 {
					if err := do(context.Background()); err != nil {
						failed <- err
						return
					}
				}
			})
		}
	}
	work.Wait()
	close(failed)
	for e := range failed {
		err = errors.Join(err, e)
	}
	return err
}

func TestServices_oneTokenEach(t *testing.T) {
	l := newLab(t)
	var want []string
	for _, s := range services {
		start(t, l, s.start)
		want = append(want, s.resource)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(l.Environ(), child+"=services")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	var got []string
	for _, r := range tokens(l) {
		got = append(got, r.Resource)
	}
	require.ElementsMatch(t, want, got)
}
