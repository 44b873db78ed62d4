package interop

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
)

func isCanceled(err error) bool { return errors.Is(err, context.Canceled) }

// unavailable is a link whose error is one package's.
type unavailable func(string) error

func (u unavailable) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, u("not here")
}

// isUnavailable is for ChainedTokenCredentialOptions, in a chain that has credentials of azidentity too.
func isUnavailable(err error) bool {
	var theirs *azidentity.AuthenticationFailedError
	var ours *managedid.AuthenticationFailedError
	var final interface {
		error
		NonRetriable()
	}
	return errors.As(err, &final) && !errors.As(err, &theirs) && !errors.As(err, &ours)
}

func TestMoving_thePageHasTheChainsFunction(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "azidentity.md"))
	require.NoError(t, err)
	_, code, _ := strings.Cut(string(page), "\n## A chain of both packages\n")
	_, code, _ = strings.Cut(code, "```go\n")
	code, _, found := strings.Cut(code, "```")
	require.True(t, found)
	source, err := os.ReadFile("differences_chain_test.go")
	require.NoError(t, err)
	require.Contains(t, string(source), code)
}

func TestMoving_aChainOfBothStopsWhereEitherFails(t *testing.T) {
	em := managedidtest.New(nil)
	em.Setenv(t, managedidtest.AppService)
	theirs, ours := bySecret(t, em, "wrong", nil)
	last, _ := manageds(t, via(em))
	for _, first := range []azcore.TokenCredential{theirs, ours} {
		_, err := tokenOf(t, chainOfOurs(t, isUnavailable)([]azcore.TokenCredential{first, last}), vault)
		require.ErrorContains(t, err, "AADSTS7000215")
	}
}

func TestDiffers_eachPackageKnowsItsOwnUnavailableErrors(t *testing.T) {
	em := managedidtest.New(nil)
	em.Setenv(t, managedidtest.AppService)
	theirs, ours := manageds(t, via(em))
	for name, tt := range map[string]struct {
		links azcore.TokenCredential
		chain func([]azcore.TokenCredential) azcore.TokenCredential
		on    bool // the chain goes on
	}{
		"azidentity's link in azidentity's": {unavailable(azidentity.NewCredentialUnavailableError), chainOfTheirs(t), true},
		"managedid's link in azidentity's":  {unavailable(managedid.NewCredentialUnavailableError), chainOfTheirs(t), false},
		"managedid's link in managedid's":   {unavailable(managedid.NewCredentialUnavailableError), chainOfOurs(t, nil), true},
		"azidentity's link in managedid's":  {unavailable(azidentity.NewCredentialUnavailableError), chainOfOurs(t, nil), false},
		"the same, with IsUnavailable":      {unavailable(azidentity.NewCredentialUnavailableError), chainOfOurs(t, isUnavailable), true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, last := range []azcore.TokenCredential{theirs, ours} {
				_, err := tokenOf(t, tt.chain([]azcore.TokenCredential{tt.links, last}), newResource())
				require.Equal(t, tt.on, err == nil)
			}
		})
	}
}

func chainOfTheirs(t *testing.T) func([]azcore.TokenCredential) azcore.TokenCredential {
	return func(links []azcore.TokenCredential) azcore.TokenCredential {
		return must[*azidentity.ChainedTokenCredential](t)(azidentity.NewChainedTokenCredential(links, nil))
	}
}

func chainOfOurs(t *testing.T, is func(error) bool) func([]azcore.TokenCredential) azcore.TokenCredential {
	return func(links []azcore.TokenCredential) azcore.TokenCredential {
		o := &managedid.ChainedTokenCredentialOptions{IsUnavailable: is}
		return must[*managedid.ChainedTokenCredential](t)(managedid.NewChainedTokenCredential(links, o))
	}
}

func TestDiffers_errorsAreOneLineAndHaveAReason(t *testing.T) {
	em := managedidtest.New(nil)
	em.Setenv(t)
	theirs, ours := bySecret(t, em, "wrong", nil)
	_, err := tokenOf(t, theirs, vault)
	require.ErrorContains(t, err, "\n")
	require.ErrorContains(t, err, "Trace ID")
	_, err = tokenOf(t, ours, vault)
	require.NotContains(t, err.Error(), "\n")
	require.NotContains(t, err.Error(), "Trace ID")
	failed, ok := errors.AsType[*managedid.AuthenticationFailedError](err)
	require.True(t, ok)
	require.Equal(t, managedid.ReasonRejectedCredential, failed.Reason)
}

func TestDiffers_anErrorsRequestHasNoSecret(t *testing.T) {
	em := managedidtest.New(nil)
	em.Setenv(t, managedidtest.AppService)
	em.Inject(managedidtest.Fault{Status: 400})
	theirs, ours := manageds(t, via(em))
	_, err := tokenOf(t, theirs, newResource())
	other, ok := errors.AsType[*azidentity.AuthenticationFailedError](err)
	require.True(t, ok)
	require.True(t, other.RawResponse.Request.Header.Get("X-Identity-Header") != "")
	_, err = tokenOf(t, ours, newResource())
	own, ok := errors.AsType[*managedid.AuthenticationFailedError](err)
	require.True(t, ok)
	require.True(t, own.RawResponse.Request.Header.Get("X-Identity-Header") == "")
}

func TestDiffers_aChainsErrorIsThatOfTheLinkThatFailed(t *testing.T) {
	em := managedidtest.New(nil)
	em.Setenv(t, managedidtest.AppService)
	one, other := bySecret(t, em, "wrong", nil)
	theirs, ours := manageds(t, via(em))
	_, err := tokenOf(t, chainOfTheirs(t)([]azcore.TokenCredential{one, theirs}), vault)
	require.ErrorContains(t, err, "ChainedTokenCredential: failed to acquire a token.\nAttempted credentials:")
	_, err = tokenOf(t, chainOfOurs(t, nil)([]azcore.TokenCredential{other, ours}), vault)
	_, alone := tokenOf(t, other, vault)
	require.Equal(t, alone.Error(), err.Error())
}

func TestDiffers_imdsIsNotProbed(t *testing.T) {
	em := managedidtest.New(nil)
	em.Setenv(t)
	theirs, ours := defaults(t, em)
	for c, want := range map[azcore.TokenCredential]int{theirs: 2, ours: 1} {
		before := len(em.Requests())
		_, err := tokenOf(t, c, newResource())
		require.NoError(t, err)
		sent := em.Requests()[before:]
		require.Len(t, sent, want)
		require.Equal(t, want == 1, sent[0].Header.Get("Metadata") == "true")
	}
}

func TestDiffers_imdsIsMovedByAVariable(t *testing.T) {
	em := managedidtest.New(nil)
	em.Setenv(t)
	t.Setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://moved.example")
	theirs, ours := manageds(t, via(em))
	for c, want := range map[azcore.TokenCredential]string{theirs: "169.254.169.254", ours: "moved.example"} {
		before := len(em.Requests())
		_, err := tokenOf(t, c, newResource())
		require.NoError(t, err)
		require.Equal(t, want, em.Requests()[before].Host)
	}
}

func TestDiffers_filesAreReadAtEachExchange(t *testing.T) {
	em := managedidtest.New(nil)
	em.Setenv(t, managedidtest.Workload)
	file, err := em.NewTokenFile(t.TempDir(), nil)
	require.NoError(t, err)
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", file.Path)
	theirs := must[*azidentity.WorkloadIdentityCredential](t)(azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{ClientOptions: via(em)}))
	ours := must[*managedid.WorkloadIdentityCredential](t)(managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{ClientOptions: via(em)}))
	for c, want := range map[azcore.TokenCredential]bool{theirs: true, ours: false} {
		var assertions []string
		for range 2 {
			_, err := tokenOf(t, c, newResource())
			require.NoError(t, err)
			sent := em.Requests()
			assertions = append(assertions, sent[len(sent)-1].Form.Get("client_assertion"))
			require.NoError(t, file.Rotate())
		}
		require.True(t, want == (assertions[0] == assertions[1]))
	}

	em.Setenv(t, managedidtest.EntraCertificate)
	t.Setenv("AZURE_CLIENT_CERTIFICATE_PATH", "none")
	_, err = azidentity.NewEnvironmentCredential(nil)
	require.ErrorContains(t, err, "failed to read certificate file")
	_, err = managedid.NewEnvironmentCredential(nil)
	require.NoError(t, err, "GetToken says so")
}

func TestDiffers_tenantsHaveNoCase(t *testing.T) {
	em := managedidtest.New(&managedidtest.Options{TenantID: "0b4ff0a1-0000-4000-8000-0000000000aa"})
	em.Setenv(t)
	theirs, ours := bySecret(t, em, em.Applications()[0].Secrets[0].Value, nil)
	for c, want := range map[azcore.TokenCredential]bool{theirs: false, ours: true} {
		_, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{vault + "/.default"}, TenantID: strings.ToUpper(em.TenantID())})
		require.Equal(t, want, err == nil)
	}
}

func TestDiffers_aToolsTenantsWithoutATenantOfItsOwn(t *testing.T) {
	tool("az", `{"accessToken":"a.b.c","expires_on":4102444800}`)(t, nil)
	allowed := []string{otherTenant}
	theirs := must[*azidentity.AzureCLICredential](t)(azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{AdditionallyAllowedTenants: allowed}))
	ours := must[*managedid.AzureCLICredential](t)(managedid.NewAzureCLICredential(&managedid.AzureCLICredentialOptions{AdditionallyAllowedTenants: allowed}))
	for c, want := range map[azcore.TokenCredential]bool{theirs: false, ours: true} {
		_, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{vault + "/.default"}, TenantID: "another"})
		require.Equal(t, want, err == nil)
	}
}
