package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// askAgent gets a token like a program on a server with Azure Arc. It runs in a process of its own, and ends it.
func askAgent() {
	key := ""
	for range 2 {
		req, err := http.NewRequest(http.MethodGet, os.Getenv("IDENTITY_ENDPOINT")+
			"?api-version=2020-06-01&resource=https://vault.azure.net", nil)
		if err != nil {
			log.Fatal(err)
		}
		req.Header.Set("Metadata", "true")
		if key != "" {
			req.Header.Set("Authorization", "Basic "+key)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			log.Fatal(err)
		}
		if path, ok := strings.CutPrefix(resp.Header.Get("WWW-Authenticate"), "Basic realm="); ok {
			content, err := os.ReadFile(path)
			if err != nil {
				log.Fatal(err)
			}
			key = string(content)
			fmt.Println(filepath.Dir(path))
		}
		fmt.Println(resp.StatusCode)
	}
	os.Exit(0)
}

func testArcCommand(t *testing.T, program string) {
	const private = "mount -t tmpfs none /var/opt && "
	if out, err := exec.Command("unshare", "-rm", "sh", "-c", private+"true").CombinedOutput(); err != nil {
		t.Skipf("no mount namespace can be made here: %v %s", err, out)
	}
	cmd := exec.Command("unshare", "-rm", "sh", "-c", private+`exec "$0" -source arc -- "$1"`, program, os.Args[0])
	cmd.Env = append(os.Environ(), child+"=arc")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", &stderr)
	require.Equal(t, "/var/opt/azcmagent/tokens\n401\n200\n", string(out))
	require.Regexp(t, ` GET /arc/metadata/identity/oauth2/token resource=https://vault\.azure\.net 401\n`+
		`.* 200 identity=`, stderr.String())
}
