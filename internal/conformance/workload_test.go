package conformance

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
)

func newWorkload(t testing.TB, transport azcore.ClientOptions, path string) *managedid.WorkloadIdentityCredential {
	t.Helper()
	blankEnvironment(t)
	setenv(t, "AZURE_TENANT_ID="+someTenant, "AZURE_CLIENT_ID="+someClient, "AZURE_FEDERATED_TOKEN_FILE="+path)
	c, err := managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{ClientOptions: transport})
	require.NoError(t, err)
	return c
}

func TestWorkload_request(t *testing.T) {
	for _, row := range []struct{ name, content, want string }{
		{"as it is", "a.b.c", "a.b.c"},
		{"without one newline", "a.b.c\n", "a.b.c"},
		{"without one newline of Windows", "a.b.c\r\n", "a.b.c"},
		{"with a second one", "a.b.c\n\n", "a.b.c\n"},
		{"with other space", " a.b.c ", " a.b.c "},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "token")
			writeFile(t, path, row.content)
			f := &fakeEntra{}
			require.NoError(t, get(ctx0, newWorkload(t, azcore.ClientOptions{Transport: f}, path), vault).Err)
			require.Equal(t, "https://login.microsoftonline.com/"+someTenant+"/oauth2/v2.0/token", f.Sent[0].URL.String())
			require.Equal(t, map[string][]string{
				"grant_type":            {"client_credentials"},
				"client_id":             {someClient},
				"scope":                 {vault},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
				"client_assertion":      {row.want},
			}, map[string][]string(f.Forms[0]))
		})
	}
}

func TestWorkload_optionsBeforeVariables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	writeFile(t, path, "a.b.c")
	for _, row := range []struct {
		name      string
		variables []string
		o         managedid.WorkloadIdentityCredentialOptions
		want      string
	}{
		{"options", []string{"AZURE_TENANT_ID=x", "AZURE_CLIENT_ID=x", "AZURE_FEDERATED_TOKEN_FILE=x"},
			managedid.WorkloadIdentityCredentialOptions{TenantID: "t", ClientID: "c", TokenFilePath: path}, ""},
		{"options alone", nil, managedid.WorkloadIdentityCredentialOptions{TenantID: "t", ClientID: "c", TokenFilePath: path}, ""},
		{"variables", []string{"AZURE_TENANT_ID=t", "AZURE_CLIENT_ID=c", "AZURE_FEDERATED_TOKEN_FILE=" + path}, managedid.WorkloadIdentityCredentialOptions{}, ""},
		{"no file", []string{"AZURE_TENANT_ID=t", "AZURE_CLIENT_ID=c"}, managedid.WorkloadIdentityCredentialOptions{}, "AZURE_FEDERATED_TOKEN_FILE is not set"},
		{"no client", []string{"AZURE_TENANT_ID=t"}, managedid.WorkloadIdentityCredentialOptions{TokenFilePath: path}, "TokenFilePath is set, but not ClientID or AZURE_CLIENT_ID"},
		{"no tenant", []string{"AZURE_CLIENT_ID=c", "AZURE_FEDERATED_TOKEN_FILE=" + path}, managedid.WorkloadIdentityCredentialOptions{},
			"AZURE_FEDERATED_TOKEN_FILE is set, but not AZURE_TENANT_ID"},
		{"an illegal tenant", nil, managedid.WorkloadIdentityCredentialOptions{TenantID: "t/", ClientID: "c", TokenFilePath: path},
			"the tenant ID, from the options or AZURE_TENANT_ID, is not valid: it has at most 253 letters, digits, dots and hyphens only"},
	} {
		t.Run(row.name, func(t *testing.T) {
			blankEnvironment(t)
			setenv(t, row.variables...)
			f := &fakeEntra{}
			row.o.Transport = f
			c, err := managedid.NewWorkloadIdentityCredential(&row.o)
			if row.want != "" {
				requireError(t, err, "WorkloadIdentityCredential: "+row.want)
				return
			}
			require.NoError(t, err)
			require.NoError(t, get(ctx0, c, vault).Err)
			require.Equal(t, "/t/oauth2/v2.0/token", f.Sent[0].URL.Path)
			require.Equal(t, "c", f.Forms[0].Get("client_id"))
		})
	}
}

func TestWorkload_vector19_theFileIsReadAtEachExchangeAndNeverAtAHit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "token")
		writeFile(t, path, "first")
		f := &fakeEntra{}
		c := newWorkload(t, azcore.ClientOptions{Transport: f}, path)
		first := get(ctx0, c, vault)
		require.NoError(t, first.Err)
		require.NoError(t, os.Remove(path))
		require.True(t, first.Token.Token == get(ctx0, c, vault).Token.Token)
		time.Sleep(10 * time.Minute)
		writeFile(t, path, "second")
		require.NoError(t, get(ctx0, c, "api://other/.default").Err)
		require.Equal(t, "first", f.Forms[0].Get("client_assertion"))
		require.Equal(t, "second", f.Forms[1].Get("client_assertion"))
	})
}

func TestWorkload_fileMissingOrEmptyInTheMiddleOfARotation(t *testing.T) {
	for name, remove := range map[string]func(string) error{
		"missing":   os.Remove,
		"empty":     func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a newline": func(path string) error { return os.WriteFile(path, []byte("\n"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "token")
				writeFile(t, path, "a.b.c")
				require.NoError(t, remove(path))
				f := &fakeEntra{}
				c := newWorkload(t, azcore.ClientOptions{Transport: f}, path)
				time.AfterFunc(2*time.Second, func() { writeFile(t, path, "a.b.c") })
				r := get(ctx0, c, vault)
				require.NoError(t, r.Err)
				require.LessOrEqual(t, r.Took, 3100*time.Millisecond)
				require.Equal(t, 1, f.Count())
			})
		})
	}
}

func TestWorkload_fileThatCannotBeUsed(t *testing.T) {
	for _, row := range []struct {
		name string
		make func(path string) error
		want string
		took time.Duration
	}{
		{"missing", func(string) error { return nil }, "no such file or directory", 3100 * time.Millisecond},
		{"empty", func(path string) error { return os.WriteFile(path, nil, 0o600) }, "it is empty", 3100 * time.Millisecond},
		{"a folder", func(path string) error { return os.Mkdir(path, 0o700) }, "it is not a regular file", 0},
		{"a pipe, which would wait for a writer", func(path string) error { return exec.Command("mkfifo", path).Run() }, "it is not a regular file", 0},
		{"a device", func(path string) error { return os.Symlink("/dev/zero", path) }, "it is not a regular file", 0},
		{"64 KiB and a byte", func(path string) error { return os.WriteFile(path, make([]byte, 64<<10+1), 0o600) }, "it is larger than 65536 bytes", 0},
		{"a link to itself", func(path string) error { return os.Symlink(path, path) }, "too many levels of symbolic links", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			if runtime.GOOS == "windows" {
				t.Skip("the texts are those of Unix")
			}
			bubble(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "token")
				require.NoError(t, row.make(path))
				f := &fakeEntra{}
				r := get(ctx0, newWorkload(t, azcore.ClientOptions{Transport: f}, path), vault)
				requireError(t, r.Err, "WorkloadIdentityCredential: Entra: the token file "+path+", from AZURE_FEDERATED_TOKEN_FILE, can't be used: "+row.want)
				require.Equal(t, managedid.ReasonConfiguration, asCredentialError(t, r.Err))
				require.Equal(t, row.took, r.Took)
				require.Zero(t, f.Count())
			})
		})
	}
}

func TestWorkload_aRelativePathIsThatOfTheConstruction(t *testing.T) {
	cache, f := managedid.NewTokenCache(nil), &fakeEntra{}
	var all []*managedid.WorkloadIdentityCredential
	for _, dir := range []string{t.TempDir(), t.TempDir()} {
		t.Chdir(dir)
		writeFile(t, "token", "in "+dir)
		c, err := managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: f},
			Cache: cache, TenantID: "t", ClientID: "c", TokenFilePath: "token"})
		require.NoError(t, err)
		all = append(all, c)
	}
	for i, c := range all {
		require.NoError(t, get(ctx0, c, vault).Err)
		require.Equal(t, i+1, f.Count(), "each file is an identity of its own")
	}
	require.NotEqual(t, f.Forms[0], f.Forms[1])
}

func TestWorkload_aCallerWhoseContextEndsDoesNotWaitForTheFile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newWorkload(t, azcore.ClientOptions{Transport: &fakeEntra{}}, filepath.Join(t.TempDir(), "none"))
		ctx, cancel := context.WithTimeout(ctx0, time.Second)
		defer cancel()
		r := get(ctx, c, vault)
		require.ErrorIs(t, r.Err, context.DeadlineExceeded)
		require.Equal(t, time.Second, r.Took)
	})
}

func TestWorkload_expiredAssertionIsReadAgain(t *testing.T) {
	const refused = "WorkloadIdentityCredential: Entra: the assertion is outside its validity: the token file was written 1h0m0s ago; see that the cluster " +
		"still replaces it, and that the clocks agree (401 Unauthorized, invalid_client: AADSTS700024: Client assertion is not within its valid time range.)"
	for _, row := range []struct {
		name    string
		replace string // the file's content when the first answer comes
		want    string // the error
		sent    []string
	}{
		{"replaced meanwhile", "new", "", []string{"old", "new"}},
		{"not replaced", "old", refused, []string{"old"}},
		{"replaced by another that has expired", "old too", refused, []string{"old", "old too"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "token")
				writeFile(t, path, "old")
				require.NoError(t, os.Chtimes(path, time.Now(), time.Now()))
				time.Sleep(time.Hour)
				f := &fakeEntra{}
				f.Script = func(n int, r *http.Request) (*http.Response, error) {
					if n == 0 {
						written, _ := os.Stat(path)
						writeFile(t, path, row.replace)
						_ = os.Chtimes(path, written.ModTime(), written.ModTime())
					}
					if strings.HasPrefix(f.Form(n).Get("client_assertion"), "old") {
						return respond(r, 401, entraError(700024, "invalid_client", "Client assertion is not within its valid time range. Current time: x.")), nil
					}
					return nil, nil
				}
				err := get(ctx0, newWorkload(t, azcore.ClientOptions{Transport: f}, path), vault).Err
				if row.want == "" {
					require.NoError(t, err)
				} else {
					requireError(t, err, row.want)
					require.Equal(t, managedid.ReasonRejectedCredential, asCredentialError(t, err))
				}
				var sent []string
				for _, form := range f.Forms {
					sent = append(sent, form.Get("client_assertion"))
				}
				require.Equal(t, row.sent, sent)
			})
		})
	}
}

// A day of a pod: its token lives an hour, and so do Entra's; kubelet replaces the file every ten minutes.
func TestWorkload_aDayOfRotations(t *testing.T) {
	bubble(t, func(t *testing.T) {
		em := managedidtest.New(nil)
		file, err := em.NewTokenFile(t.TempDir(), nil)
		require.NoError(t, err)
		em.Setenv(t, managedidtest.Workload)
		c, err := managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}, Cache: exactCache()})
		require.NoError(t, err)
		tokens := map[string]bool{}
		for minute := range 24 * 60 {
			if minute%10 == 9 {
				require.NoError(t, file.Rotate())
			}
			r := get(ctx0, c, vault)
			require.NoError(t, r.Err)
			require.Greater(t, time.Until(r.Token.ExpiresOn), 2*time.Minute)
			tokens[r.Token.Token] = true
			time.Sleep(time.Minute)
		}
		require.Len(t, tokens, 27) // one each 55 minutes, when the last has five left
		require.Len(t, em.Requests(), 27)
		for _, r := range em.Requests() {
			require.Equal(t, 200, r.Status, "each with a valid assertion, at the first try")
		}
	})
}

func TestWorkload_aLateRotation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		em := managedidtest.New(nil)
		file, err := em.NewTokenFile(t.TempDir(), nil)
		require.NoError(t, err)
		em.Setenv(t, managedidtest.Workload)
		c, err := managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: em}})
		require.NoError(t, err)
		time.Sleep(30 * time.Minute)
		first := get(ctx0, c, vault)
		require.NoError(t, first.Err)
		for now := time.Now(); now.Before(first.Token.ExpiresOn); now = time.Now() { // the refresh fails, the token serves
			r := get(ctx0, c, vault)
			require.NoError(t, r.Err)
			require.True(t, r.Token.Token == first.Token.Token)
			time.Sleep(30 * time.Second)
		}
		err = get(ctx0, c, vault).Err
		require.Equal(t, managedid.ReasonRejectedCredential, asCredentialError(t, err))
		require.Contains(t, err.Error(), "the token file was written 1h30m0s ago")
		require.NoError(t, file.Rotate())
		time.Sleep(time.Second)
		require.NoError(t, get(ctx0, c, vault).Err)
	})
}
