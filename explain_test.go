package managedid

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"
)

func TestExplain_eachLinksState(t *testing.T) {
	const application = "application c in tenant t"
	const url = "https://login.microsoftonline.com/t/oauth2/v2.0/token"
	noSecret := LinkReport{Credential: nameEnvironment, State: LinkNotConfigured, Problem: "neither AZURE_CLIENT_SECRET nor AZURE_CLIENT_CERTIFICATE_PATH is set"}
	imds := LinkReport{Credential: nameManagedIdentity, State: LinkConfigured, Source: "IMDS", Endpoint: "http://169.254.169.254/metadata/identity/oauth2/token",
		Identity: "the host's default identity"}
	for _, row := range []struct {
		name, env string
		link      int
		want      LinkReport
	}{
		{"nothing for the environment", "", 0, noSecret},
		{"nothing for workload identity", "", 1, LinkReport{Credential: nameWorkloadIdentity, State: LinkNotConfigured, Problem: "AZURE_FEDERATED_TOKEN_FILE is not set"}},
		{"nothing for a managed identity", "", 2, imds},
		{"a secret alone", "AZURE_CLIENT_SECRET=" + someSecret, 0, LinkReport{Credential: nameEnvironment, State: LinkIncomplete, Variables: []string{"AZURE_CLIENT_SECRET"},
			Problem: "AZURE_CLIENT_SECRET is set, but not AZURE_TENANT_ID and AZURE_CLIENT_ID; to skip this credential, set AZURE_TOKEN_CREDENTIALS to the name of another"}},
		{"a secret", "AZURE_CLIENT_SECRET=" + someSecret + "|AZURE_TENANT_ID=t|AZURE_CLIENT_ID=c", 0, LinkReport{Credential: nameEnvironment, State: LinkConfigured, Source: "Entra",
			Endpoint: url, Identity: application, Variables: []string{"AZURE_TENANT_ID=t", "AZURE_CLIENT_ID=c", "AZURE_CLIENT_SECRET"}}},
		{"a certificate that is not there", "AZURE_CLIENT_CERTIFICATE_PATH=/none.pem|AZURE_CLIENT_CERTIFICATE_PASSWORD=" + someSecret + "|AZURE_TENANT_ID=t|AZURE_CLIENT_ID=c", 0,
			LinkReport{Credential: nameEnvironment, State: LinkConfigured, Source: "Entra", Endpoint: url, Identity: application,
				Variables: []string{"AZURE_TENANT_ID=t", "AZURE_CLIENT_ID=c", "AZURE_CLIENT_CERTIFICATE_PATH=/none.pem", "AZURE_CLIENT_CERTIFICATE_PASSWORD"},
				Problem:   "the file /none.pem is not there as this program sees it"}},
		{"a user-assigned identity", "AZURE_CLIENT_ID=" + someGUID + "|IDENTITY_ENDPOINT=http://localhost/msi|IDENTITY_HEADER=" + someSecret, 2,
			LinkReport{Credential: nameManagedIdentity, State: LinkConfigured, Source: "App Service", Endpoint: "http://localhost/msi", Identity: "client ID " + someGUID,
				Variables: []string{"IDENTITY_ENDPOINT=http://localhost/msi", "IDENTITY_HEADER", "AZURE_CLIENT_ID=" + someGUID}}},
		{"an endpoint with a password", "AZURE_POD_IDENTITY_AUTHORITY_HOST=http://me:" + "p8~s3cr3t" + "@localhost/", 2, LinkReport{Credential: nameManagedIdentity, State: LinkIncomplete,
			Variables: []string{"AZURE_POD_IDENTITY_AUTHORITY_HOST"},
			Problem:   "AZURE_POD_IDENTITY_AUTHORITY_HOST is not an http or https URL; to skip this credential, set AZURE_TOKEN_CREDENTIALS to the name of another"}},
		{"no az", "AZURE_TOKEN_CREDENTIALS=dev|PATH=", 0, LinkReport{Credential: nameAzureCLI, State: LinkNotConfigured, Source: "az", Problem: "the program az is not on the PATH; install it, or correct the PATH"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			blankEnvironment(t)
			if row.env != "" {
				setenv(t, strings.Split(row.env, "|")...)
			}
			nobody := transportFunc(func(*http.Request) (*http.Response, error) { panic("something was sent") })
			c, err := NewDefaultAzureCredential(&DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: nobody}})
			require.NoError(t, err)
			r := c.Explain(ctx0, nil)
			require.Equal(t, row.want, r.Links[row.link])
			printed, err := json.Marshal(r)
			require.NoError(t, err)
			require.NotContains(t, string(printed)+r.String()+fmt.Sprintf("%#v", r), "s3cr3t")
			var again Report
			require.NoError(t, json.Unmarshal(printed, &again))
			require.Equal(t, r, again)
		})
	}
}

func TestExplain_whatIsInUse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c := newFakeIMDS(t, nil)
		foreign := transportLessCredential{}
		inner, err := NewChainedTokenCredential([]azcore.TokenCredential{failingLink{notConfigured("Nobody", "is here")}, c}, nil)
		require.NoError(t, err)
		chain, err := NewChainedTokenCredential([]azcore.TokenCredential{inner, foreign}, nil)
		require.NoError(t, err)
		states := func() (all []string) {
			for _, l := range chain.Explain(ctx0, nil).Links {
				all = append(all, l.Credential+" "+string(l.State))
			}
			return all
		}
		require.Equal(t, []string{"Nobody not configured", "ManagedIdentityCredential configured", "managedid.transportLessCredential configured"}, states())
		require.NoError(t, get(ctx0, chain, vault).err)
		require.Equal(t, []string{"Nobody not configured", "ManagedIdentityCredential in use", "managedid.transportLessCredential configured"}, states())
	})
}

type transportLessCredential struct{ azcore.TokenCredential }

func TestExplain_probe(t *testing.T) {
	for _, row := range []struct {
		name    string
		answer  func(*http.Request) (*http.Response, error)
		present bool
		want    string
	}{
		{"IMDS", func(r *http.Request) (*http.Response, error) { return respond(r, 400, "{}", "Server", "IMDS/150"), nil }, true, "answers: 400 Bad Request"},
		{"a proxy", func(r *http.Request) (*http.Response, error) { return respond(r, 403, "<html>"), nil }, false, "something else answers: 403 Forbidden"},
		{"nobody", func(*http.Request) (*http.Response, error) { return nil, errRefused }, false, "dial: connection refused"},
		{"silence", func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, false, "no answer within 3s"},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var sent []*http.Request
				blankEnvironment(t)
				c, err := NewManagedIdentityCredential(&ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
					sent = append(sent, r)
					return row.answer(r)
				})}})
				require.NoError(t, err)
				chain, err := NewChainedTokenCredential([]azcore.TokenCredential{c}, nil)
				require.NoError(t, err)
				p := chain.Explain(ctx0, &ExplainOptions{Probe: true}).Links[0].Probe
				require.Equal(t, row.present, p.Present)
				require.Equal(t, row.want, p.Answer)
				require.LessOrEqual(t, p.Took, 3*time.Second)
				require.Len(t, sent, 1)
				require.Empty(t, sent[0].Header.Get("Metadata"), "without it IMDS gives no token")
			})
		})
	}
}

func TestExplain_probesTheHostsRoot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "token")
		blankEnvironment(t)
		var sent []string
		c, err := NewWorkloadIdentityCredential(&WorkloadIdentityCredentialOptions{ClientID: "c", TenantID: "t", TokenFilePath: file,
			ClientOptions: azcore.ClientOptions{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
				sent = append(sent, r.Method+" "+r.URL.String())
				return respond(r, 404, ""), nil
			})}})
		require.NoError(t, err)
		chain, err := NewChainedTokenCredential([]azcore.TokenCredential{c}, nil)
		require.NoError(t, err)
		l := chain.Explain(ctx0, &ExplainOptions{Probe: true}).Links[0]
		require.Equal(t, []string{"GET https://login.microsoftonline.com/"}, sent)
		require.True(t, l.Probe.Present)
		require.Equal(t, "the file "+file+" is not there as this program sees it", l.Problem)
	})
}
