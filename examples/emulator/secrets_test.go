package main

import (
	"context"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
)

// printSecrets gets a token and prints it, together with the secrets in the environment and in files. It fails if other
// users can read the files. It runs in a process of its own, and ends it.
func printSecrets() {
	cred, err := managedid.NewDefaultAzureCredential(nil)
	if err != nil {
		log.Fatal(err)
	}
	options := policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}}
	token, err := cred.GetToken(context.Background(), options)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.Token)
	for _, name := range []string{"IDENTITY_HEADER", "MSI_SECRET", "AZURE_CLIENT_SECRET"} {
		fmt.Println(os.Getenv(name))
	}
	err = filepath.WalkDir(os.Getenv("TMPDIR"), func(path string, d fs.DirEntry, err error) error {
		if info, e := d.Info(); e == nil && d.Type().IsRegular() {
			content, _ := os.ReadFile(path)
			fmt.Println(string(content))
			if info.Mode()&0o077 != 0 {
				log.Fatal("others may read ", path)
			}
		}
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(0)
}

func testSecrets(t *testing.T, program string) {
	if runtime.GOOS != "linux" {
		t.Skip("Go reads SSL_CERT_FILE on Linux")
	}
	for _, source := range []string{"imds", "appservice", "appservice-2017", "cloudshell", "azureml", "servicefabric",
		"entra-secret", "entra-certificate", "workload"} {
		dir := t.TempDir()
		cmd := exec.Command(program, "-source", source, "--", os.Args[0])
		cmd.Env = append(os.Environ(), child+"=secrets", "TMPDIR="+dir)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err, source)
		require.Contains(t, stderr.String(), " 200 identity=")
		secrets := 0
		for line := range strings.Lines(string(out)) {
			if line = strings.TrimSpace(line); len(line) > 7 && !strings.HasPrefix(line, "-----") {
				secrets++
				require.False(t, strings.Contains(stderr.String(), line), source)
			}
		}
		require.Positive(t, secrets)
		remaining, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, remaining, source)
	}
}
