package managedid

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"
)

func newCLI(t testing.TB, o AzureCLICredentialOptions) *AzureCLICredential {
	t.Helper()
	o.Cache = NewTokenCache(nil)
	c, err := NewAzureCLICredential(&o)
	require.NoError(t, err)
	return c
}

func newAzd(t testing.TB, o AzureDeveloperCLICredentialOptions) *AzureDeveloperCLICredential {
	t.Helper()
	o.Cache = NewTokenCache(nil)
	c, err := NewAzureDeveloperCLICredential(&o)
	require.NoError(t, err)
	return c
}

func TestTools_runOnceForATokenWithTheseArguments(t *testing.T) {
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	for _, row := range []struct {
		name string
		make func(t *testing.T) (azcore.TokenCredential, func() []string)
		opts policy.TokenRequestOptions
		want string
	}{
		{"az", func(t *testing.T) (azcore.TokenCredential, func() []string) {
			calls := newTool(t, "az", azSays(expires))
			return newCLI(t, AzureCLICredentialOptions{}), calls
		}, policy.TokenRequestOptions{Scopes: []string{vault}}, "account|get-access-token|--output=json|--resource=https://vault.azure.net"},
		{"az with tenant and subscription", func(t *testing.T) (azcore.TokenCredential, func() []string) {
			calls := newTool(t, "az", azSays(expires))
			return newCLI(t, AzureCLICredentialOptions{TenantID: "contoso", Subscription: "My Sub_1.2-3"}), calls
		}, policy.TokenRequestOptions{Scopes: []string{vault}, EnableCAE: true},
			"account|get-access-token|--output=json|--resource=https://vault.azure.net|--tenant=contoso|--subscription=My Sub_1.2-3"},
		{"az with the request's tenant", func(t *testing.T) (azcore.TokenCredential, func() []string) {
			calls := newTool(t, "az", azSays(expires))
			return newCLI(t, AzureCLICredentialOptions{}), calls
		}, policy.TokenRequestOptions{Scopes: []string{vault}, TenantID: "fabrikam"},
			"account|get-access-token|--output=json|--resource=https://vault.azure.net|--tenant=fabrikam"},
		{"azd", func(t *testing.T) (azcore.TokenCredential, func() []string) {
			calls := newTool(t, "azd", azdSays(expires))
			return newAzd(t, AzureDeveloperCLICredentialOptions{TenantID: "contoso"}), calls
		}, policy.TokenRequestOptions{Scopes: []string{vault, "api://b/.default"}},
			"auth|token|--output=json|--no-prompt|--scope=https://vault.azure.net/.default|--scope=api://b/.default|--tenant-id=contoso"},
		{"azd with claims", func(t *testing.T) (azcore.TokenCredential, func() []string) {
			calls := newTool(t, "azd", azdSays(expires))
			return newAzd(t, AzureDeveloperCLICredentialOptions{}), calls
		}, policy.TokenRequestOptions{Scopes: []string{vault}, Claims: "{}"},
			"auth|token|--output=json|--no-prompt|--scope=https://vault.azure.net/.default|--claims=e30="},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, calls := row.make(t)
			for range 3 {
				got, err := c.GetToken(ctx0, row.opts)
				require.NoError(t, err)
				require.True(t, got.Token == secretToken)
				require.Equal(t, expires.UTC(), got.ExpiresOn)
			}
			require.Equal(t, []string{row.want}, calls())
		})
	}
}

func TestTools_errors(t *testing.T) {
	const az, azd = "AzureCLICredential: az: ", "AzureDeveloperCLICredential: azd: "
	for _, row := range []struct {
		name, program, script string
		opts                  policy.TokenRequestOptions
		want                  string
	}{
		{"not signed in", "az", `echo "ERROR: Please run 'az login' to setup account." >&2; exit 1`, policy.TokenRequestOptions{},
			az + "ERROR: Please run 'az login' to setup account."},
		{"silence", "az", "exit 3", policy.TokenRequestOptions{}, az + "exit status 3"},
		{"no JSON", "az", "echo " + secretToken, policy.TokenRequestOptions{}, az + "the program's output is not the JSON of a token"},
		{"no token", "az", `echo '{"expires_on":9999999999}'`, policy.TokenRequestOptions{}, az + "the program's output is not the JSON of a token"},
		{"a token of two lines", "az", `echo '{"accessToken":"a\\nb","expires_on":9999999999}'`, policy.TokenRequestOptions{}, az + "the program's output is not the JSON of a token"},
		{"a token for ten thousand years", "azd", `echo '{"token":"a","expiresOn":"9999-12-31T23:59:59-14:00"}'`, policy.TokenRequestOptions{}, azd + "the program's output is not the JSON of a token"},
		{"a message in another encoding", "az", `printf 'ERROR: \374ber\n' >&2; exit 1`, policy.TokenRequestOptions{}, az + "ERROR: \ufffdber"},
		{"expired", "az", azSays(time.Now().Add(-time.Hour)), policy.TokenRequestOptions{}, az + "the program gave a token that has expired; check the clock of this machine"},
		{"claims", "az", "", policy.TokenRequestOptions{Claims: "{}", TenantID: "fabrikam"},
			az + "the resource asks for more than the tool's sign-in; run az login --tenant fabrikam --claims-challenge e30="},
		{"two scopes", "az", "", policy.TokenRequestOptions{Scopes: []string{vault, "b"}}, az + "GetToken needs exactly one scope"},
		{"a scope for a shell", "az", "", policy.TokenRequestOptions{Scopes: []string{"a;b"}},
			az + "the scope has characters other than letters, digits and . - _ / :"},
		{"too much output", "az", "while :; do echo 0123456789012345678901234567890123456789012345678901234567890123456789; done",
			policy.TokenRequestOptions{}, az + "the program wrote too much"},
		{"error in JSON", "azd", `printf '%s\n' '{"type":"consoleMessage","data":{"message":"\n"}}' >&2; echo '{"error":"AADSTS90002: no such tenant","message":"x"}' >&2; exit 1`,
			policy.TokenRequestOptions{}, azd + "AADSTS90002: no such tenant"},
		{"error in old JSON", "azd", `printf '%s\n' '{"type":"consoleMessage","data":{"message":"\nERROR: not logged in\n"}}' >&2; exit 1`,
			policy.TokenRequestOptions{}, azd + "ERROR: not logged in"},
		{"an azd that knows no claims", "azd", `echo 'Error: unknown flag: --claims' >&2; exit 1`, policy.TokenRequestOptions{Claims: "{}"},
			azd + "the resource asks for more than the tool's sign-in, which takes azd 1.18.1 or later"},
	} {
		t.Run(row.name, func(t *testing.T) {
			calls := newTool(t, row.program, row.script)
			var c azcore.TokenCredential = newCLI(t, AzureCLICredentialOptions{})
			if row.program == "azd" {
				c = newAzd(t, AzureDeveloperCLICredentialOptions{})
			}
			if row.opts.Scopes == nil {
				row.opts.Scopes = []string{vault}
			}
			_, err := c.GetToken(ctx0, row.opts)
			require.IsType(t, &AuthenticationFailedError{}, err)
			requireError(t, err, row.want)
			asCredentialError(t, err)
			require.Equal(t, row.script == "", len(calls()) == 0)
		})
	}
}

func TestTools_notOnThePath(t *testing.T) {
	newTool(t, "other", "")
	dir := t.TempDir()
	t.Chdir(dir)
	writeFile(t, "az", "#!/bin/sh\n"+azSays(time.Now().Add(time.Hour)))
	require.NoError(t, os.Chmod("az", 0o700))
	for _, path := range []string{os.Getenv("PATH"), "", "."} {
		t.Setenv("PATH", path)
		err := get(ctx0, newCLI(t, AzureCLICredentialOptions{}), vault).Err
		requireError(t, err, "AzureCLICredential: az: the program az is not on the PATH; install it, or correct the PATH", "not that of the current folder either")
		require.IsType(t, &CredentialUnavailableError{}, err)
	}
}

func TestTools_aCallerLeavesWhenItsContextEnds(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	require.NoError(t, err)
	checkGoroutines(t)
	calls := newTool(t, "az", "exec "+sleep+" 1")
	ctx, cancel := context.WithCancel(ctx0)
	c := newCLI(t, AzureCLICredentialOptions{})
	go func() {
		for len(calls()) == 0 {
			runtime.Gosched()
		}
		cancel()
	}()
	require.ErrorIs(t, get(ctx, c, vault).Err, context.Canceled)
}

func TestTools_constructorsRefuseWhatCannotWork(t *testing.T) {
	for _, o := range []AzureCLICredentialOptions{{TenantID: "a b"}, {TenantID: "a;b"}, {Subscription: `"`}, {Subscription: "a/b"}, {Subscription: "$(x)"}} {
		_, err := NewAzureCLICredential(&o)
		require.Error(t, err)
	}
	_, err := NewAzureDeveloperCLICredential(&AzureDeveloperCLICredentialOptions{TenantID: "--help=x"})
	requireError(t, err, "AzureDeveloperCLICredential: the TenantID is not valid: it has at most 253 letters, digits, dots and hyphens only")
}

func TestTools_oldVersionsSayALocalTime(t *testing.T) {
	raw, expires, err := decodeAzureCLI([]byte(`{"accessToken":"x","expiresOn":"2026-01-02 03:04:05.678901"}`))
	require.NoError(t, err)
	require.Equal(t, "x", raw)
	require.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.Local), expires)
}

func TestDefault_developersTools(t *testing.T) {
	const notSignedIn = `echo "not signed in" >&2; exit 1`
	for _, row := range []struct {
		selected, az, azd string
		want              string // the token's tool, or the error
	}{
		{"dev", "yes", "yes", "az"},
		{"dev", "no", "yes", "azd"},
		{"dev", "none", "yes", "azd"},
		{"dev", "none", "none", "DefaultAzureCredential: no credential is available: AzureCLICredential: az: the program az is not on the PATH; install it, or correct the PATH; " +
			"AzureDeveloperCLICredential: azd: the program azd is not on the PATH; install it, or correct the PATH"},
		{"dev", "no", "no", "DefaultAzureCredential: no credential is available: AzureCLICredential: az: not signed in; AzureDeveloperCLICredential: azd: not signed in"},
		{"AzureCLICredential", "yes", "yes", "az"},
		{"azureclicredential", "no", "yes", "AzureCLICredential: az: not signed in"},
		{"AzureDeveloperCLICredential", "yes", "yes", "azd"},
		{"AzureDeveloperCLICredential", "yes", "no", "AzureDeveloperCLICredential: azd: not signed in"},
	} {
		t.Run(fmt.Sprint(row.selected, ", az ", row.az, ", azd ", row.azd), func(t *testing.T) {
			script := map[string]string{"no": notSignedIn, "yes": ""}
			expires := time.Now().Add(time.Hour)
			dirs := ""
			for program, state := range map[string]string{"az": row.az, "azd": row.azd} {
				if state == "yes" {
					script["yes"] = map[string]string{"az": azSays(expires), "azd": azdSays(expires)}[program]
				}
				if state != "none" {
					newTool(t, program, strings.ReplaceAll(script[state], secretToken, "of-"+program))
					dirs += os.Getenv("PATH") + ":"
				}
			}
			blankEnvironment(t)
			t.Setenv("PATH", dirs+"/nowhere")
			t.Setenv("AZURE_TOKEN_CREDENTIALS", row.selected)
			r := get(ctx0, newDefault(t, DefaultAzureCredentialOptions{Cache: NewTokenCache(nil)}), vault)
			if r.Err != nil {
				requireError(t, r.Err, row.want)
				asCredentialError(t, r.Err)
				return
			}
			require.Equal(t, "of-"+row.want, r.Token.Token)
		})
	}
}

// A service in production never starts a program.
func TestDefault_runsNoToolUnlessTold(t *testing.T) {
	calls := newTool(t, "az", azSays(time.Now().Add(time.Hour)))
	for _, selected := range []string{"", "prod", "ManagedIdentityCredential"} {
		t.Setenv("AZURE_TOKEN_CREDENTIALS", selected)
		requests := 0
		require.Error(t, get(ctx0, newDefault(t, DefaultAzureCredentialOptions{ClientOptions: noAnswer(&requests)}), vault).Err)
	}
	require.Empty(t, calls())
}
