package managedid

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/tokens"
)

const (
	someGUID     = "9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d816"
	someResource = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/n"
	someHeader   = "853b9a84-5bfa-4b22-a3f3-0b9a43d9ad8a"
)

// setenv sets variables given as NAME=value.
func setenv(tb testing.TB, variables ...string) {
	tb.Helper()
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		tb.Setenv(name, value)
	}
}

// appServiceEnvironment is that of an app, with nothing else in it.
func appServiceEnvironment(tb testing.TB) {
	blankEnvironment(tb)
	setenv(tb, "IDENTITY_ENDPOINT=http://localhost:42356/msi/token", "IDENTITY_HEADER="+someHeader)
}

func TestDetection_inTheOrderOfMicrosoftsLibraries(t *testing.T) {
	const endpoint, header, thumbprint = "IDENTITY_ENDPOINT=https://localhost/e", "IDENTITY_HEADER=h", "IDENTITY_SERVER_THUMBPRINT=" + someThumbprint
	const msi, secret, imds = "MSI_ENDPOINT=http://localhost/m", "MSI_SECRET=s", "IMDS_ENDPOINT=http://localhost/i"
	for _, row := range []struct {
		name      string
		variables []string
		want      Source
	}{
		{"nothing", nil, SourceIMDS},
		{"row 1", []string{endpoint, header, thumbprint}, SourceServiceFabric},
		{"row 1 before all others", []string{endpoint, header, thumbprint, msi, secret, imds}, SourceServiceFabric},
		{"row 2", []string{endpoint, header}, SourceAppService},
		{"row 2 before all others: Container Apps has MSI_ENDPOINT too", []string{endpoint, header, msi}, SourceAppService},
		{"row 2 before Azure ML and Arc", []string{endpoint, header, msi, secret, imds}, SourceAppService},
		{"row 3", []string{msi, secret}, SourceAzureML},
		{"row 3 before Arc", []string{msi, secret, endpoint, imds}, SourceAzureML},
		{"row 4", []string{msi}, SourceCloudShell},
		{"row 4 before Arc", []string{msi, endpoint, imds}, SourceCloudShell},
		{"row 5", []string{endpoint, imds}, SourceAzureArc},
		{"row 6: an endpoint alone", []string{endpoint}, SourceIMDS},
		{"row 6: a header alone", []string{header, thumbprint, secret, imds}, SourceIMDS},
		{"an empty thumbprint is unset", []string{endpoint, header, "IDENTITY_SERVER_THUMBPRINT="}, SourceAppService},
		{"an empty header is unset", []string{endpoint, "IDENTITY_HEADER=", imds}, SourceAzureArc},
		{"an empty secret is unset", []string{msi, "MSI_SECRET="}, SourceCloudShell},
		{"all empty", []string{"IDENTITY_ENDPOINT=", "IDENTITY_HEADER=", "MSI_ENDPOINT=", "MSI_SECRET=", "IMDS_ENDPOINT="}, SourceIMDS},
	} {
		t.Run(row.name, func(t *testing.T) {
			blankEnvironment(t)
			setenv(t, row.variables...)
			detected, _ := detectSource()
			require.Equal(t, row.want, detected)
			c, err := NewManagedIdentityCredential(nil)
			require.NoError(t, err)
			require.Equal(t, string(row.want), c.source.name)
		})
	}
}

func TestDetection_ofTheArcAgentsFile(t *testing.T) {
	t.Setenv("ProgramFiles", filepath.Join("C:", "Program Files"))
	require.Equal(t, "/opt/azcmagent/bin/himds", arcAgent("linux"))
	require.Equal(t, filepath.Join("C:", "Program Files", "AzureConnectedMachineAgent", "himds.exe"), arcAgent("windows"))
	require.Empty(t, arcAgent("darwin"))
	t.Setenv("ProgramFiles", "")
	require.Empty(t, arcAgent("windows"))

	agent := filepath.Join(t.TempDir(), "himds")
	require.False(t, isFile(agent))
	require.False(t, isFile(""))
	require.NoError(t, os.WriteFile(agent, nil, 0o600))
	require.True(t, isFile(agent))
}

func TestNewManagedIdentityCredential_refuses(t *testing.T) {
	const imds = "AZURE_POD_IDENTITY_AUTHORITY_HOST"
	for _, row := range []struct {
		name     string
		variable string
		options  ManagedIdentityCredentialOptions
		want     string
	}{
		{"an empty client ID", "", ManagedIdentityCredentialOptions{ID: ClientID("")}, "the client ID of the identity is empty; correct it in the options or AZURE_CLIENT_ID"},
		{"a blank object ID", "", ManagedIdentityCredentialOptions{ID: ObjectID(" ")}, "the object ID of the identity is empty; correct it in the options or AZURE_CLIENT_ID"},
		{"an empty resource ID", "", ManagedIdentityCredentialOptions{ID: ResourceID("")}, "the resource ID of the identity is empty; correct it in the options or AZURE_CLIENT_ID"},
		{"an unknown source", "", ManagedIdentityCredentialOptions{Source: "VM"}, `unknown source "VM"; name one of the Source constants, or none`},
		{"a source without its endpoint", "", ManagedIdentityCredentialOptions{Source: SourceAppService}, "IDENTITY_ENDPOINT is not set"},
		{"an override without a scheme", imds + "=127.0.0.1:8421", ManagedIdentityCredentialOptions{}, imds + " is not an http or https URL"},
		{"an override with a name for a scheme", imds + "=localhost:8421", ManagedIdentityCredentialOptions{}, imds + " is not an http or https URL"},
		{"an override of another scheme", imds + "=ftp://localhost", ManagedIdentityCredentialOptions{}, imds + " is not an http or https URL"},
		{"an override without a host", imds + "=http://", ManagedIdentityCredentialOptions{}, imds + " is not an http or https URL"},
		{"an override that is a path", imds + "=/metadata", ManagedIdentityCredentialOptions{}, imds + " is not an http or https URL"},
		{"an override with a user", imds + "=http://u:p@localhost", ManagedIdentityCredentialOptions{}, imds + " is not an http or https URL"},
		{"an override with a fragment", imds + "=http://localhost#f", ManagedIdentityCredentialOptions{}, imds + " is not an http or https URL"},
		{"an override with a line break", imds + "=http://local\nhost", ManagedIdentityCredentialOptions{}, imds + " is not an http or https URL"},
		{"an override with a query", imds + "=http://localhost?x=1", ManagedIdentityCredentialOptions{}, imds + " has a query; give it scheme and host alone"},
	} {
		t.Run(row.name, func(t *testing.T) {
			blankEnvironment(t)
			if row.variable != "" {
				setenv(t, row.variable)
			}
			c, err := NewManagedIdentityCredential(&row.options)
			requireError(t, err, "ManagedIdentityCredential: "+row.want)
			require.Nil(t, c)
		})
	}
}

// credentialWith makes a credential, which sends nothing.
func credentialWith(t *testing.T, o *ManagedIdentityCredentialOptions) *ManagedIdentityCredential {
	t.Helper()
	c, err := NewManagedIdentityCredential(o)
	require.NoError(t, err)
	return c
}

func TestCache_ofTheProcessServesCredentialsThatHaveNothingOfTheirOwn(t *testing.T) {
	blankEnvironment(t)
	first := credentialWith(t, nil)
	require.Same(t, processCache.set(first.source.identity), first.tokens)
	nothing := policy.RetryOptions{}
	addPolicy := []policy.Policy{&retryPolicy{}}
	for _, row := range []struct {
		name                     string
		options                  ManagedIdentityCredentialOptions
		sameTokens, sameEndpoint bool
	}{
		{"no options", ManagedIdentityCredentialOptions{}, true, true},
		{"the source by name", ManagedIdentityCredentialOptions{Source: SourceIMDS}, true, true},
		{"a logger", ManagedIdentityCredentialOptions{Logger: slog.Default()}, true, true},
		{"zero retry options", ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Retry: nothing}}, true, true},
		{"telemetry", ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Telemetry: policy.TelemetryOptions{Disabled: true}}}, true, true},
		{"an identity", ManagedIdentityCredentialOptions{ID: ClientID(someGUID)}, false, true},
		{"a transport", ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: http.DefaultClient}}, false, false},
		{"a policy per call", ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{PerCallPolicies: addPolicy}}, false, false},
		{"a policy per try", ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{PerRetryPolicies: addPolicy}}, false, false},
		{"retry options", ManagedIdentityCredentialOptions{ClientOptions: noRetries}, false, false},
		{"retry codes, if empty", ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Retry: policy.RetryOptions{StatusCodes: []int{}}}}, false, false},
		{"a cache", ManagedIdentityCredentialOptions{Cache: NewTokenCache(nil)}, false, false},
		{"a transport and that cache", ManagedIdentityCredentialOptions{Cache: &processCache, ClientOptions: noRetries}, true, true},
	} {
		c := credentialWith(t, &row.options)
		require.Equal(t, row.sameTokens, c.tokens == first.tokens, row.name)
		require.Equal(t, row.sameEndpoint, c.gate == first.gate, row.name)
		again := credentialWith(t, &row.options)
		require.Equal(t, row.sameEndpoint || row.options.Cache != nil, c.tokens == again.tokens, row.name)
	}
}

func TestCache_tellsIdentitiesAndEndpointsApart(t *testing.T) {
	blankEnvironment(t)
	cache := NewTokenCache(nil)
	with := func(id ManagedIDKind) *ManagedIdentityCredential {
		return credentialWith(t, &ManagedIdentityCredentialOptions{ID: id, Cache: cache})
	}
	seen := map[*tokens.Set]bool{}
	for _, id := range []ManagedIDKind{nil, ClientID(someGUID), ObjectID(someGUID), ResourceID(someGUID), ClientID(someGUID + "0")} {
		c := with(id)
		require.False(t, seen[c.tokens], "%v", id)
		seen[c.tokens] = true
	}
	require.Same(t, with(ClientID(someGUID)).tokens, with(ClientID(strings.ToUpper(someGUID))).tokens, "GUIDs have no case")
	setenv(t, "AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127.0.0.1:8421")
	other := with(nil)
	require.False(t, seen[other.tokens])
	require.Same(t, with(nil).gate, other.gate)
	setenv(t, "AZURE_POD_IDENTITY_AUTHORITY_HOST=")
	require.NotSame(t, with(nil).gate, other.gate)
}

func TestRetry_usersOptionsReplaceTheSources(t *testing.T) {
	teapot := func(resp *http.Response, err error) bool { return resp != nil && resp.StatusCode == http.StatusTeapot }
	for _, row := range []struct {
		name        string
		environment func(testing.TB)
		retry       policy.RetryOptions
		status      int
		want        int
	}{
		{"IMDS, 404", blankEnvironment, policy.RetryOptions{}, 404, 7},
		{"IMDS, 410", blankEnvironment, policy.RetryOptions{}, 410, 7},
		{"IMDS, 599", blankEnvironment, policy.RetryOptions{}, 599, 7},
		{"IMDS, 400", blankEnvironment, policy.RetryOptions{}, 400, 1},
		{"IMDS, 404, one retry", blankEnvironment, policy.RetryOptions{MaxRetries: 1}, 404, 2},
		{"IMDS, 404, none", blankEnvironment, policy.RetryOptions{MaxRetries: -1}, 404, 1},
		{"IMDS, 404, other codes", blankEnvironment, policy.RetryOptions{StatusCodes: []int{418}}, 404, 1},
		{"IMDS, 418, other codes", blankEnvironment, policy.RetryOptions{StatusCodes: []int{418}}, 418, 7},
		{"IMDS, 404, no codes", blankEnvironment, policy.RetryOptions{StatusCodes: []int{}}, 404, 1},
		{"IMDS, 404, ShouldRetry", blankEnvironment, policy.RetryOptions{ShouldRetry: teapot}, 404, 1},
		{"IMDS, 418, ShouldRetry", blankEnvironment, policy.RetryOptions{ShouldRetry: teapot}, 418, 7},
		{"IMDS, 404, delays", blankEnvironment, policy.RetryOptions{RetryDelay: time.Hour, MaxRetryDelay: time.Hour}, 404, 1},
		{"IMDS, no answer", blankEnvironment, policy.RetryOptions{MaxRetries: 2}, 0, 3},
		{"App Service, 500", appServiceEnvironment, policy.RetryOptions{}, 500, 6},
		{"App Service, 404", appServiceEnvironment, policy.RetryOptions{}, 404, 1},
		{"App Service, 404, its code", appServiceEnvironment, policy.RetryOptions{StatusCodes: []int{404}, MaxRetries: 2}, 404, 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				row.environment(t)
				requests := 0
				o := azcore.ClientOptions{Retry: row.retry, Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
					requests++
					if row.status == 0 {
						return nil, errors.New("no answer")
					}
					return imdsStatus(r, row.status), nil
				})}
				require.Error(t, get(t.Context(), credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: o}), vault).err)
				require.Equal(t, row.want, requests)
			})
		})
	}
}

func TestRetry_usersLimitOfATryHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blankEnvironment(t)
		requests := 0
		o := azcore.ClientOptions{Retry: policy.RetryOptions{TryTimeout: time.Second, MaxRetries: 1, RetryDelay: time.Nanosecond},
			Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
				requests++
				deadline, ok := r.Context().Deadline()
				require.True(t, ok)
				require.Equal(t, time.Now().Add(time.Second), deadline)
				return nil, delayed(r, time.Hour)
			})}
		err := get(t.Context(), credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: o}), vault).err
		requireGaveUp(t, err, "ManagedIdentityCredential: IMDS: not found at 169.254.169.254: no answer in time")
		notOfAContext(t, err)
		require.Equal(t, 2, requests)
	})
}
