package conformance

import (
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
)

// secretTools are what the developers' tools say and do with a token.
var secretTools = []struct{ name, program, script string }{
	{"a token", "az", azSays(time.Now().Add(time.Hour))},
	{"a token that has expired", "az", azSays(time.Now().Add(-time.Hour))},
	{"half a token", "az", `printf '{"accessToken":"TOKEN'`},
	{"a token alone", "az", "echo TOKEN"},
	{"a trace", "az", "echo 'DEBUG: Authorization: Bearer TOKEN' >&2; echo TOKEN; exit 1"},
	{"a token", "azd", azdSays(time.Now().Add(time.Hour))},
	{"a token that has expired", "azd", azdSays(time.Now().Add(-time.Hour))},
	{"a trace", "azd", "echo 'Bearer TOKEN' >&2; exit 1"},
	{"an error in JSON", "azd", `echo '{"error":"not TOKEN"}' >&2; exit 1`},
	{"an error in old JSON", "azd", `echo '{"type":"consoleMessage","data":{"message":"not TOKEN"}}' >&2; exit 1`},
	{"a token in the wrong place", "azd", `echo '{"token":{"TOKEN":1}}'`},
}

func askTool(t *testing.T, k canaries, row struct{ name, program, script string }) []string {
	w := newWitness(t, k)
	newTool(t, row.program, strings.NewReplacer("TOKEN", canaryToken, secretToken, canaryToken).Replace(row.script))
	cache, logger := managedid.NewTokenCache(nil), w.logger()
	var alone azcore.TokenCredential
	var err error
	if row.program == "az" {
		alone, err = managedid.NewAzureCLICredential(&managedid.AzureCLICredentialOptions{Cache: cache, Logger: logger})
	} else {
		alone, err = managedid.NewAzureDeveloperCLICredential(&managedid.AzureDeveloperCLICredentialOptions{Cache: cache, Logger: logger})
	}
	require.NoError(t, err)
	t.Setenv("AZURE_TOKEN_CREDENTIALS", "dev")
	for _, c := range []azcore.TokenCredential{alone, newDefault(t, managedid.DefaultAzureCredentialOptions{Cache: cache, Logger: logger})} {
		r := get(ctx0, c, vault)
		require.Equal(t, r.Err == nil, r.Token.Token == canaryToken)
		require.Equal(t, row.name == "a token", r.Err == nil)
		require.Empty(t, waitForGoroutines()) // a flight logs after its caller has left, and changes what is printed
		w.showError(r.Err)
		w.show("credential", c)
	}
	w.show("cache", cache)
	return w.requireSilence(t)
}
