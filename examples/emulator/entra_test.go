package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// exchange requests a token with the credential in the environment. It runs in a process that trusts SSL_CERT_FILE, and
// ends it.
func exchange() {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {os.Getenv("AZURE_CLIENT_ID")},
		"scope": {"https://vault.azure.net/.default"},
	}
	if file := os.Getenv("AZURE_FEDERATED_TOKEN_FILE"); file != "" {
		assertion, err := os.ReadFile(file)
		if err != nil {
			log.Fatal(err)
		}
		form.Set("client_assertion", string(assertion))
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	} else {
		form.Set("client_secret", os.Getenv("AZURE_CLIENT_SECRET"))
	}
	endpoint := os.Getenv("AZURE_AUTHORITY_HOST") + os.Getenv("AZURE_TENANT_ID") + "/oauth2/v2.0/token"
	resp, err := http.PostForm(endpoint, form)
	if err != nil {
		log.Fatal(err)
	}
	var answer struct {
		Type  string `json:"token_type"`
		Error string
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	fmt.Println(resp.StatusCode, cmp.Or(answer.Type, answer.Error), err)
	fmt.Println(filepath.Dir(os.Getenv("NODE_EXTRA_CA_CERTS")))
	os.Exit(0)
}

func testEntraCommand(t *testing.T, program string) {
	if runtime.GOOS != "linux" {
		t.Skip("Go reads SSL_CERT_FILE on Linux")
	}
	for _, source := range []string{"entra-secret", "workload"} {
		cmd := exec.Command(program, "-source", source, "--", os.Args[0])
		cmd.Env = append(os.Environ(), child+"=exchange", "AZURE_CLIENT_SECRET=of the machine",
			"AZURE_FEDERATED_TOKEN_FILE=none", "SSL_CERT_FILE=none")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err)
		answer, dir, _ := strings.Cut(string(out), "\n")
		require.Equal(t, "200 Bearer <nil>", answer)
		require.Regexp(t, `^\d\d:\d\d:\d\d\.\d{3} POST /[0-9a-f-]{36}/oauth2/v2\.0/token `+
			`resource=https://vault\.azure\.net client_id=[0-9a-f-]{36} 200 identity=[0-9a-f-]{36}\n$`,
			stderr.String())
		require.True(t, filepath.IsAbs(dir))
		_, err = os.Stat(strings.TrimSpace(dir))
		require.ErrorIs(t, err, os.ErrNotExist, "what was made for the command is gone")
	}
}

func testPod(t *testing.T, program string) {
	cmd := exec.Command(program, "-source", "workload")
	roots := filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t, os.WriteFile(roots, []byte("the user's own"), 0o600))
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+roots, "TMPDIR="+filepath.Join(t.TempDir(), "it's a"))
	require.NoError(t, os.Mkdir(strings.TrimPrefix(cmd.Env[len(cmd.Env)-1], "TMPDIR="), 0o700))
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	start(t, cmd)
	lines := bufio.NewReader(out)
	var script strings.Builder
	for range len(managedidtest.New(nil).Environ()) + 4 {
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		script.WriteString(line)
	}
	script.WriteString(`echo "$AZURE_FEDERATED_TOKEN_FILE"; cat "$NODE_EXTRA_CA_CERTS"; ` +
		`test "$NODE_EXTRA_CA_CERTS" = "$SSL_CERT_FILE"`)
	shown, err := exec.Command("sh", "-c", script.String()).Output()
	require.NoError(t, err)
	file, certificate, _ := strings.Cut(string(shown), "\n")
	require.True(t, strings.HasPrefix(certificate, "-----BEGIN CERTIFICATE-----\n"))
	require.True(t, strings.HasSuffix(certificate, "-----END CERTIFICATE-----\nthe user's own"))
	_, err = os.Stat(file)
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
	_, err = os.Stat(file)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestKeepFresh_rotatesAsKubeletDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, err := managedidtest.New(nil).NewTokenFile(t.TempDir(), nil)
		require.NoError(t, err)
		made := func() time.Time {
			info, err := os.Stat(file.Path)
			require.NoError(t, err)
			return info.ModTime()
		}
		begin := time.Now()
		stop := keepFresh(file)
		for range 3 {
			time.Sleep(48*time.Minute - time.Nanosecond)
			synctest.Wait()
			require.True(t, made().Equal(begin))
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			begin = begin.Add(48 * time.Minute)
			require.True(t, made().Equal(begin))
		}
		stop()
		time.Sleep(time.Hour)
		require.True(t, made().Equal(begin))
	})
}
