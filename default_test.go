package managedid

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/testkit"
)

const (
	skip            = "; to skip this credential, set AZURE_TOKEN_CREDENTIALS to the name of another"
	environmentNone = "EnvironmentCredential: neither AZURE_CLIENT_SECRET nor AZURE_CLIENT_CERTIFICATE_PATH is set"
	workloadNone    = "WorkloadIdentityCredential: AZURE_FEDERATED_TOKEN_FILE is not set"
	noTools         = "to use a developer's sign-in, set AZURE_TOKEN_CREDENTIALS=dev; on a laptop without one, run the program beside the emulator"
)

// noAnswer is the Transport of a host without IMDS.
func noAnswer(requests *int) azcore.ClientOptions {
	o := noRetries
	o.Transport = transportFunc(func(*http.Request) (*http.Response, error) {
		*requests++
		return nil, errors.New("no route")
	})
	return o
}

func newDefault(t testing.TB, o DefaultAzureCredentialOptions) *DefaultAzureCredential {
	t.Helper()
	c, err := NewDefaultAzureCredential(&o)
	require.NoError(t, err)
	return c
}

func TestDefault_followsAZURE_TOKEN_CREDENTIALS(t *testing.T) {
	const known = "prod, dev, EnvironmentCredential, WorkloadIdentityCredential, ManagedIdentityCredential, AzureCLICredential, AzureDeveloperCLICredential"
	const unknown = "DefaultAzureCredential: AZURE_TOKEN_CREDENTIALS has an unknown value; known are " + known
	const powerShell = "DefaultAzureCredential: AZURE_TOKEN_CREDENTIALS selects Azure PowerShell, which is not supported; sign in with az or azd " +
		"and select AzureCLICredential or AzureDeveloperCLICredential"
	for _, row := range []struct {
		value string
		links string // the initials of those that are asked
		want  string // the constructor's error
	}{
		{"", "EWM", ""},
		{"prod", "EWM", ""},
		{"EnvironmentCredential", "E", ""},
		{"environmentcredential", "E", ""},
		{"WorkloadIdentityCredential", "W", ""},
		{"WORKLOADIDENTITYCREDENTIAL", "W", ""},
		{"ManagedIdentityCredential", "M", ""},
		{"managedIdentityCredential", "M", ""},
		{"AZUREPOWERSHELLCREDENTIAL", "", powerShell},
		{"PROD", "", unknown},
		{"Dev", "", unknown},
		{" prod", "", unknown},
		{" ", "", unknown},
		{"prod,dev", "", unknown},
		{"EnvironmentCredential;ManagedIdentityCredential", "", unknown},
		{"Environment", "", unknown},
		{"DefaultAzureCredential", "", unknown},
	} {
		for _, required := range []bool{false, true} {
			blankEnvironment(t)
			t.Setenv("AZURE_TOKEN_CREDENTIALS", row.value)
			requests := 0
			c, err := NewDefaultAzureCredential(&DefaultAzureCredentialOptions{ClientOptions: noAnswer(&requests), RequireAzureTokenCredentials: required})
			want := row.want
			if row.value == "" && required {
				want = "DefaultAzureCredential: AZURE_TOKEN_CREDENTIALS must be set, since RequireAzureTokenCredentials is true"
			}
			if want != "" {
				requireError(t, err, want)
				require.Nil(t, c)
				continue
			}
			require.NoError(t, err)
			err = get(t.Context(), c, vault).Err
			var unavailable *CredentialUnavailableError
			require.ErrorAs(t, err, &unavailable)
			asked := ""
			for _, l := range unavailable.Links {
				asked += l.Error()[:1]
			}
			require.Equal(t, row.links, asked, "%q", row.value)
			require.Equal(t, strings.Count(row.links, "M"), requests)
		}
	}
}

func TestDefault_errorWhereAllAreUnavailable(t *testing.T) {
	blankEnvironment(t)
	requests := 0
	c := newDefault(t, DefaultAzureCredentialOptions{ClientOptions: noAnswer(&requests)})
	err := get(t.Context(), c, vault).Err
	requireError(t, err, "DefaultAzureCredential: no credential is available: "+
		"ManagedIdentityCredential: IMDS: not found at 169.254.169.254: no route; "+environmentNone+"; "+workloadNone+"; "+noTools)
	require.Equal(t, ReasonAbsent, asCredentialError(t, err))
	reasons := []Reason{}
	for _, l := range err.(*CredentialUnavailableError).Links {
		reasons = append(reasons, asCredentialError(t, l))
	}
	require.Equal(t, []Reason{ReasonConfiguration, ReasonConfiguration, ReasonAbsent}, reasons)
}

func TestDefault_environmentAndWorkloadIdentity(t *testing.T) {
	const tenant, client, secret = "AZURE_TENANT_ID=t", "AZURE_CLIENT_ID=c", "AZURE_CLIENT_SECRET=not for print"
	const certificate, file = "AZURE_CLIENT_CERTIFICATE_PATH=/tmp/not-for-print.pem", "AZURE_FEDERATED_TOKEN_FILE=/tmp/not-for-print"
	const env, workload = "EnvironmentCredential: ", "WorkloadIdentityCredential: "
	for _, row := range []struct {
		name      string
		variables []string
		tenantID  string
		want      string // the error of a link that stops the chain
		links     []string
	}{
		{name: "nothing", links: []string{environmentNone, workloadNone}},
		{name: "tenant and client, which prove nothing", variables: []string{tenant, client}, links: []string{environmentNone, workloadNone}},
		{name: "all empty", variables: []string{"AZURE_TENANT_ID=", "AZURE_CLIENT_ID=", "AZURE_CLIENT_SECRET=", "AZURE_CLIENT_CERTIFICATE_PATH=",
			"AZURE_FEDERATED_TOKEN_FILE="}, links: []string{environmentNone, workloadNone}},
		{name: "a user", variables: []string{tenant, client, "AZURE_USERNAME=u"},
			links: []string{environmentNone + " (AZURE_USERNAME is, but signing in with a password is not supported)", workloadNone}},

		{name: "secret without tenant", variables: []string{client, secret}, want: env + "AZURE_CLIENT_SECRET is set, but not AZURE_TENANT_ID" + skip},
		{name: "secret without client", variables: []string{tenant, secret}, want: env + "AZURE_CLIENT_SECRET is set, but not AZURE_CLIENT_ID" + skip},
		{name: "secret alone", variables: []string{secret}, want: env + "AZURE_CLIENT_SECRET is set, but not AZURE_TENANT_ID and AZURE_CLIENT_ID" + skip},
		{name: "secret with an empty tenant", variables: []string{client, secret, "AZURE_TENANT_ID="},
			want: env + "AZURE_CLIENT_SECRET is set, but not AZURE_TENANT_ID" + skip},
		{name: "certificate without tenant", variables: []string{client, certificate},
			want: env + "AZURE_CLIENT_CERTIFICATE_PATH is set, but not AZURE_TENANT_ID" + skip},
		{name: "certificate alone", variables: []string{certificate},
			want: env + "AZURE_CLIENT_CERTIFICATE_PATH is set, but not AZURE_TENANT_ID and AZURE_CLIENT_ID" + skip},
		{name: "an empty secret is unset", variables: []string{client, certificate, "AZURE_CLIENT_SECRET="},
			want: env + "AZURE_CLIENT_CERTIFICATE_PATH is set, but not AZURE_TENANT_ID" + skip},
		{name: "an illegal tenant", variables: []string{"AZURE_TENANT_ID=a/b", client, secret},
			want: env + "the tenant ID, from the options or AZURE_TENANT_ID, is not valid: it has at most 253 letters, digits, dots and hyphens only" + skip},
		{name: "an authority without TLS", variables: []string{tenant, client, secret, "AZURE_AUTHORITY_HOST=http://localhost"},
			want: env + "AZURE_AUTHORITY_HOST is not an https URL without a query" + skip},

		{name: "token file without client", variables: []string{tenant, file}, want: workload + "AZURE_FEDERATED_TOKEN_FILE is set, but not AZURE_CLIENT_ID" + skip},
		{name: "token file without tenant", variables: []string{client, file}, want: workload + "AZURE_FEDERATED_TOKEN_FILE is set, but not AZURE_TENANT_ID" + skip},
		{name: "token file alone", variables: []string{file}, want: workload + "AZURE_FEDERATED_TOKEN_FILE is set, but not AZURE_CLIENT_ID and AZURE_TENANT_ID" + skip},
		{name: "token file, the options' tenant, no client", variables: []string{file}, tenantID: "t",
			want: workload + "AZURE_FEDERATED_TOKEN_FILE is set, but not AZURE_CLIENT_ID" + skip},
		{name: "environment before workload identity", variables: []string{secret, file, client},
			want: env + "AZURE_CLIENT_SECRET is set, but not AZURE_TENANT_ID" + skip},
	} {
		t.Run(row.name, func(t *testing.T) {
			blankEnvironment(t)
			setenv(t, row.variables...)
			requests := 0
			err := get(t.Context(), newDefault(t, DefaultAzureCredentialOptions{ClientOptions: noAnswer(&requests), TenantID: row.tenantID}), vault).Err
			require.NotContains(t, err.Error(), "not for print")
			require.NotContains(t, err.Error(), "not-for-print")
			if row.want == "" {
				all := err.(*CredentialUnavailableError)
				requireError(t, all.Links[0], row.links[0])
				requireError(t, all.Links[1], row.links[1])
				require.Equal(t, 1, requests)
				return
			}
			require.IsType(t, &AuthenticationFailedError{}, err)
			requireError(t, err, row.want)
			require.Equal(t, ReasonConfiguration, asCredentialError(t, err))
			require.Zero(t, requests)
		})
	}
}

func TestDefault_aSelectedLinkSkipsOneThatIsConfiguredByHalf(t *testing.T) {
	blankEnvironment(t)
	setenv(t, "AZURE_CLIENT_SECRET=s", "AZURE_TOKEN_CREDENTIALS=ManagedIdentityCredential")
	var requests []*http.Request
	require.NoError(t, get(t.Context(), newDefault(t, DefaultAzureCredentialOptions{ClientOptions: record(&requests)}), vault).Err)
	require.Len(t, requests, 1)
}

func TestDefault_managedIdentitysClientID(t *testing.T) {
	for _, row := range []struct{ name, option, variable, want string }{
		{"none", "", "", ""},
		{"the variable", "", "of the variable", "of the variable"},
		{"the option", "of the option", "", "of the option"},
		{"the option before the variable", "of the option", "of the variable", "of the option"},
	} {
		t.Run(row.name, func(t *testing.T) {
			blankEnvironment(t)
			t.Setenv("AZURE_CLIENT_ID", row.variable)
			var requests []*http.Request
			c := newDefault(t, DefaultAzureCredentialOptions{ClientOptions: record(&requests), ManagedIdentityClientID: row.option})
			require.NoError(t, get(t.Context(), c, vault).Err)
			require.Equal(t, row.want, requests[0].URL.Query().Get("client_id"))
			require.Equal(t, row.want != "", requests[0].URL.Query().Has("client_id"))
		})
	}
}

func TestDefault_managedIdentityThatCannotWorkFailsInGetToken(t *testing.T) {
	for _, row := range []struct {
		name      string
		variables []string
		want      string
	}{
		{"Service Fabric", []string{"IDENTITY_ENDPOINT=https://localhost:2377", "IDENTITY_HEADER=h", "IDENTITY_SERVER_THUMBPRINT=t"},
			"ManagedIdentityCredential: " + badThumbprint},
		{"Service Fabric, a transport that can't be pinned", []string{"IDENTITY_ENDPOINT=https://localhost:2377", "IDENTITY_HEADER=h", "IDENTITY_SERVER_THUMBPRINT=" + someThumbprint},
			"ManagedIdentityCredential: Service Fabric: ClientOptions.Transport is not an *http.Client" + testkit.UnpinnedAdvice},
		{"Azure ML", []string{"MSI_ENDPOINT=http://localhost", "MSI_SECRET=s", "AZURE_CLIENT_ID=x"}, "ManagedIdentityCredential: " + needsGUID},
		{"Cloud Shell", []string{"MSI_ENDPOINT=http://localhost:50342", "AZURE_CLIENT_ID=x"}, "ManagedIdentityCredential: " + shellHasUser},
		{"Azure Arc", []string{"IDENTITY_ENDPOINT=localhost:40342", "IMDS_ENDPOINT=http://localhost:40342"},
			"ManagedIdentityCredential: IDENTITY_ENDPOINT is not an http or https URL"},
		{"a bad endpoint", []string{"IDENTITY_ENDPOINT=localhost", "IDENTITY_HEADER=h"}, "ManagedIdentityCredential: IDENTITY_ENDPOINT is not an http or https URL"},
		{"a blank client ID", []string{"AZURE_CLIENT_ID= "}, "ManagedIdentityCredential: the client ID of the identity is empty; correct it in the options or AZURE_CLIENT_ID"},
	} {
		t.Run(row.name, func(t *testing.T) {
			blankEnvironment(t)
			setenv(t, row.variables...)
			requests := 0
			c := newDefault(t, DefaultAzureCredentialOptions{ClientOptions: noAnswer(&requests)})
			err := get(t.Context(), c, vault).Err
			require.IsType(t, &AuthenticationFailedError{}, err)
			requireError(t, err, row.want+skip)
			require.Equal(t, ReasonConfiguration, asCredentialError(t, err))
			require.NotSame(t, err, get(t.Context(), c, vault).Err, "each caller has its own")
			require.Zero(t, requests)
		})
	}
}

func TestDefault_standsInAChain(t *testing.T) {
	blankEnvironment(t)
	requests := 0
	c := newDefault(t, DefaultAzureCredentialOptions{ClientOptions: noAnswer(&requests)})
	chain := chainOf(t, nil, c, foreign(func(context.Context) (string, error) { return "t", nil }))
	require.Equal(t, "t", get(t.Context(), chain, vault).Token.Token)
	require.Equal(t, 1, requests)
}

func TestDefault_tellsItsLoggerWhichLinkWasChosen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		blankEnvironment(t)
		var out bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&out, nil))
		said := func(c azcore.TokenCredential) string {
			first := get(ctx0, c, vault)
			require.NoError(t, first.Err)
			require.Equal(t, first.Token, get(ctx0, c, vault).Token)
			synctest.Wait()
			defer out.Reset()
			require.NotContains(t, out.String(), secretToken)
			require.Equal(t, 1, strings.Count(out.String(), "credential chosen"), out.String())
			_, line, _ := strings.Cut(strings.TrimSpace(out.String()), "level=INFO ")
			return line
		}
		var requests []*http.Request
		const identity = ` credential=ManagedIdentityCredential source=IMDS identity="the host's default identity"`
		require.Equal(t, `msg="credential chosen" chain=DefaultAzureCredential`+identity, said(newDefault(t, DefaultAzureCredentialOptions{ClientOptions: record(&requests), Logger: logger})))
		require.Len(t, requests, 1)
		_, imds := newFakeIMDS(t, nil)
		options := &ChainedTokenCredentialOptions{Logger: logger}
		require.Equal(t, `msg="credential chosen" chain=ChainedTokenCredential`+identity, said(chainOf(t, options, imds)))
		require.Equal(t, `msg="credential chosen" chain=ChainedTokenCredential credential=testkit.Foreign`,
			said(chainOf(t, options, foreign(func(context.Context) (string, error) { return "t", nil }))))
	})
}

func TestDefault_saysWhatMayBeMissing(t *testing.T) {
	blankEnvironment(t)
	setenv(t, "KUBERNETES_SERVICE_HOST=10.0.0.1", "IDENTITY_ENDPOINT=http://localhost/")
	requests := 0
	err := get(t.Context(), newDefault(t, DefaultAzureCredentialOptions{ClientOptions: noAnswer(&requests)}), vault).Err
	require.ErrorContains(t, err, "no route; IDENTITY_ENDPOINT is set, but neither IDENTITY_HEADER nor IMDS_ENDPOINT is; ")
	require.ErrorContains(t, err, "WorkloadIdentityCredential: AZURE_FEDERATED_TOKEN_FILE is not set; if this pod is meant to have it, "+
		`see that it was made with the label azure.workload.identity/use: "true"; `)
}
