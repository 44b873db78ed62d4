package managedid

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/files"
	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/internal/text"
	"github.com/managedid/managedid/internal/tokens"
)

func TestExplain_eachLinksState(t *testing.T) {
	const application = "application " + someClient + " in tenant t"
	const client, set = "|AZURE_TENANT_ID=t|AZURE_CLIENT_ID=" + someClient, "AZURE_CLIENT_ID=" + someClient
	const skip = "; to skip this credential, set AZURE_TOKEN_CREDENTIALS to the name of another"
	const pem = "-----BEGIN PRIVATE KEY-----\n" + someSecret + "\n-----END PRIVATE KEY-----"
	const url = "https://login.microsoftonline.com/t/oauth2/v2.0/token"
	noSecret := Link{Credential: nameEnvironment, State: LinkNotConfigured, Problem: "neither AZURE_CLIENT_SECRET nor AZURE_CLIENT_CERTIFICATE_PATH is set"}
	imds := Link{Credential: nameManagedIdentity, State: LinkConfigured, Source: "IMDS", Endpoint: "http://169.254.169.254/metadata/identity/oauth2/token",
		Evidence: "nothing shows another source", Identity: "the host's default identity"}
	pfx, pod := files.Absolute(testkit.CertificateFile("openssl3.pfx")), files.Absolute(testkit.CertificateFile("leaf.pem"))
	for _, row := range []struct {
		name, env string
		link      int
		want      Link
	}{
		{"nothing for the environment", "", 0, noSecret},
		{"nothing for workload identity", "", 1, Link{Credential: nameWorkloadIdentity, State: LinkNotConfigured, Problem: "AZURE_FEDERATED_TOKEN_FILE is not set"}},
		{"nothing for a managed identity", "", 2, imds},
		{"a secret alone", "AZURE_CLIENT_SECRET=" + someSecret, 0, Link{Credential: nameEnvironment, State: LinkIncomplete, Variables: []string{"AZURE_CLIENT_SECRET"},
			Problem: "AZURE_CLIENT_SECRET is set, but not AZURE_TENANT_ID and AZURE_CLIENT_ID" + skip}},
		{"a secret", "AZURE_CLIENT_SECRET=" + someSecret + client, 0, Link{Credential: nameEnvironment, State: LinkConfigured, Source: "Entra",
			Endpoint: url, Identity: application, Variables: []string{"AZURE_TENANT_ID=t", set, "AZURE_CLIENT_SECRET"}}},
		{"a secret in the place of an ID", "AZURE_CLIENT_SECRET=" + someSecret + "|AZURE_TENANT_ID=t|AZURE_CLIENT_ID=" + someSecret, 0,
			Link{Credential: nameEnvironment, State: LinkIncomplete, Source: "Entra", Endpoint: url,
				Identity: "application (not an ID, so not shown) in tenant t", Variables: []string{"AZURE_TENANT_ID=t", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"},
				Problem: "the ID is neither a GUID nor a resource ID; correct it in the options or AZURE_CLIENT_ID"}},
		{"a certificate that is not there", "AZURE_CLIENT_CERTIFICATE_PATH=/none.pem|AZURE_CLIENT_CERTIFICATE_PASSWORD=" + someSecret + client, 0,
			Link{Credential: nameEnvironment, State: LinkIncomplete, Source: "Entra", Endpoint: url, Identity: application, File: "/none.pem",
				Variables: []string{"AZURE_TENANT_ID=t", set, "AZURE_CLIENT_CERTIFICATE_PATH=/none.pem", "AZURE_CLIENT_CERTIFICATE_PASSWORD"},
				Problem:   "the certificate file /none.pem, from AZURE_CLIENT_CERTIFICATE_PATH, can't be used: no such file or directory"}},
		{"a certificate without its password", "AZURE_CLIENT_CERTIFICATE_PATH=" + pfx + client, 0,
			Link{Credential: nameEnvironment, State: LinkIncomplete, Source: "Entra", Endpoint: url, Identity: application, File: pfx,
				Variables: []string{"AZURE_TENANT_ID=t", set, "AZURE_CLIENT_CERTIFICATE_PATH=" + pfx}, Problem: "the certificate file " + pfx +
					", from AZURE_CLIENT_CERTIFICATE_PATH, can't be used: it needs a password; set AZURE_CLIENT_CERTIFICATE_PASSWORD to the one that it was exported with"}},
		{"a key in the place of its path", "AZURE_CLIENT_CERTIFICATE_PATH=" + pem + client, 0,
			Link{Credential: nameEnvironment, State: LinkIncomplete, Source: "Entra", Endpoint: url, Identity: application, File: text.NotAPath,
				Variables: []string{"AZURE_TENANT_ID=t", set, "AZURE_CLIENT_CERTIFICATE_PATH"},
				Problem:   "the certificate file " + text.NotAPath + ", from AZURE_CLIENT_CERTIFICATE_PATH, can't be used: it is not a path"}},
		{"a token in the place of its file", "AZURE_FEDERATED_TOKEN_FILE=" + secretToken + client, 1,
			Link{Credential: nameWorkloadIdentity, State: LinkIncomplete, Source: "Entra", Endpoint: url, Identity: application, File: text.NotAPath,
				Variables: []string{"AZURE_FEDERATED_TOKEN_FILE", set, "AZURE_TENANT_ID=t"},
				Problem:   "the token file " + text.NotAPath + ", from AZURE_FEDERATED_TOKEN_FILE, can't be used: it is not a path"}},
		{"an identity binding", "AZURE_FEDERATED_TOKEN_FILE=" + pod + "|AZURE_KUBERNETES_TOKEN_PROXY=https://10.0.0.1" + client, 1,
			Link{Credential: nameWorkloadIdentity, State: LinkIncomplete, Source: "Entra", Endpoint: url, Identity: application, File: pod,
				Variables: []string{"AZURE_FEDERATED_TOKEN_FILE=" + pod, set, "AZURE_TENANT_ID=t"}, Problem: needsTokenProxy, Reason: ReasonRejectedCredential}},
		{"a user-assigned identity", "AZURE_CLIENT_ID=" + someGUID + "|IDENTITY_ENDPOINT=http://localhost/msi?code=" + someSecret + "|IDENTITY_HEADER=" + someSecret, 2,
			Link{Credential: nameManagedIdentity, State: LinkConfigured, Source: "App Service", Endpoint: "http://localhost/msi?…",
				Evidence: "IDENTITY_ENDPOINT and IDENTITY_HEADER are set", Identity: "client ID " + someGUID,
				Variables: []string{"IDENTITY_ENDPOINT=http://localhost/msi?…", "IDENTITY_HEADER", "AZURE_CLIENT_ID=" + someGUID}}},
		{"an endpoint alone", "IDENTITY_ENDPOINT=http://localhost/msi", 2, Link{Credential: nameManagedIdentity, State: LinkConfigured, Source: "IMDS",
			Endpoint: imds.Endpoint, Identity: imds.Identity, Evidence: "IDENTITY_ENDPOINT is set, but neither IDENTITY_HEADER nor IMDS_ENDPOINT is"}},
		{"a header alone", "IDENTITY_HEADER=" + someHeader, 2, Link{Credential: nameManagedIdentity, State: LinkConfigured, Source: "IMDS",
			Endpoint: imds.Endpoint, Identity: imds.Identity, Evidence: "IDENTITY_HEADER is set, but IDENTITY_ENDPOINT is not"}},
		{"a secret of MSI alone", "MSI_SECRET=" + someHeader, 2, Link{Credential: nameManagedIdentity, State: LinkConfigured, Source: "IMDS",
			Endpoint: imds.Endpoint, Identity: imds.Identity, Evidence: "MSI_SECRET is set, but MSI_ENDPOINT is not"}},
		{"the default identity of Azure ML", "MSI_ENDPOINT=http://localhost/|MSI_SECRET=" + someSecret + "|DEFAULT_IDENTITY_CLIENT_ID=" + someGUID, 2,
			Link{Credential: nameManagedIdentity, State: LinkConfigured, Source: "Azure ML", Endpoint: "http://localhost/",
				Evidence: "MSI_ENDPOINT and MSI_SECRET are set", Identity: "client ID " + someGUID,
				Variables: []string{"MSI_ENDPOINT=http://localhost/", "MSI_SECRET", "DEFAULT_IDENTITY_CLIENT_ID=" + someGUID}}},
		{"Cloud Shell's user", "MSI_ENDPOINT=http://localhost/", 2, Link{Credential: nameManagedIdentity, State: LinkConfigured, Source: "Cloud Shell",
			Endpoint: "http://localhost/", Evidence: "MSI_ENDPOINT is set", Identity: "the signed-in user", Variables: []string{"MSI_ENDPOINT=http://localhost/"}}},
		{"an endpoint with a password", "AZURE_POD_IDENTITY_AUTHORITY_HOST=http://me:" + "p8~s3cr3t" + "@localhost/", 2, Link{Credential: nameManagedIdentity, State: LinkIncomplete,
			Variables: []string{"AZURE_POD_IDENTITY_AUTHORITY_HOST"},
			Problem:   "AZURE_POD_IDENTITY_AUTHORITY_HOST is not an http or https URL; to skip this credential, set AZURE_TOKEN_CREDENTIALS to the name of another"}},
		{"no az", "AZURE_TOKEN_CREDENTIALS=dev|PATH=", 0, Link{Credential: nameAzureCLI, State: LinkNotConfigured, Source: "az", Identity: "the account that is signed in to az", Reason: ReasonAbsent, Problem: "the program az is not on the PATH; install it, or correct the PATH"}},
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
			if row.want.Problem != "" && row.want.Reason == "" {
				row.want.Reason = ReasonConfiguration
			}
			require.Equal(t, row.want, r.Links[row.link])
			printed, err := json.Marshal(r)
			require.NoError(t, err)
			all := string(printed) + r.String() + fmt.Sprintf("%#v", r)
			for _, secret := range []string{"s3cr3t", someSecret, secretToken} {
				require.NotContains(t, all, secret)
			}
			var again ChainReport
			require.NoError(t, json.Unmarshal(printed, &again))
			require.Equal(t, r, again)
		})
	}
}

func TestExplain_whatIsInUse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c := newFakeIMDS(t, nil)
		foreign := transportLessCredential{}
		inner, err := NewChainedTokenCredential([]azcore.TokenCredential{&failingLink{notConfigured("Nobody", "is here")}, c}, nil)
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
		require.NoError(t, get(ctx0, chain, vault).Err)
		require.Equal(t, []string{"Nobody not configured", "ManagedIdentityCredential in use", "managedid.transportLessCredential configured"}, states())
	})
}

type transportLessCredential struct{ azcore.TokenCredential }

func TestExplain_probe(t *testing.T) {
	var released chan struct{}
	silence := func(_ int, r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	deaf := func(int, *http.Request) (*http.Response, error) { <-released; return nil, errRefused }
	const imds, host, secret = "http://169.254.169.254/metadata/identity/oauth2/token", "http://localhost/msi",
		"https://login.microsoftonline.com/" + someTenant + "/v2.0/.well-known/openid-configuration"
	for _, row := range []struct {
		name, sent string
		answer     script
		present    bool
		want       string
		took       time.Duration
	}{
		{"IMDS", imds, answerWith(400, `{"error":"invalid_request"}`), true, "there, and it is IMDS (a probe gets 400 Bad Request)", 0},
		{"a proxy", imds, answerWith(403, "<html>"), false, "something else is there (a probe gets 403 Forbidden)", 0},
		{"nobody", imds, func(int, *http.Request) (*http.Response, error) { return nil, errRefused }, false, "dial: connection refused", 0},
		{"silence", imds, silence, false, "no answer in time", 3 * time.Second},
		{"a transport that ignores its context", imds, deaf, false, "no answer in time", 3 * time.Second},
		{"a host that wants its secret", host, answerWith(403, ""), true, "there (a probe gets 403 Forbidden)", 0},
		{"a captive portal", host, answerWith(302, ""), false, "something else is there (a probe gets 302 Found)", 0},
		{"a proxy that wants a password", host, answerWith(407, ""), false, "something else is there (a probe gets 407 Proxy Authentication Required)", 0},
		{"a tenant", secret, answerWith(200, `{"token_endpoint":"https://login.microsoftonline.com/"}`), true, "there, and it is Entra (a probe gets 200 OK)", 0},
		{"no tenant", secret, answerWith(400, `{"error":"invalid_tenant","error_codes":[90002]}`), true, "there, and it is Entra (a probe gets 400 Bad Request)", 0},
		{"an outage of Entra's", secret, answerWith(503, `{"error":"temporarily_unavailable"}`), true, "there, and it is Entra (a probe gets 503 Service Unavailable)", 0},
		{"IMDS that throttles", imds, answerWith(429, ""), true, "there, and it is IMDS (a probe gets 429 Too Many Requests)", 0},
		{"not Entra", secret, answerWith(200, "<html>"), false, "something else is there (a probe gets 200 OK)", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				released = make(chan struct{})
				defer close(released)
				sent := make(chan *http.Request, 9)
				o := azcore.ClientOptions{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
					sent <- r
					return row.answer(1, r)
				})}
				blankEnvironment(t)
				setenv(t, "IDENTITY_ENDPOINT=http://localhost/msi?code=1", "IDENTITY_HEADER="+someHeader)
				var c azcore.TokenCredential
				var err error
				switch row.sent {
				case imds:
					c, err = NewManagedIdentityCredential(&ManagedIdentityCredentialOptions{ClientOptions: o, Source: SourceIMDS})
				case host:
					c, err = NewManagedIdentityCredential(&ManagedIdentityCredentialOptions{ClientOptions: o})
				default:
					c, err = NewClientSecretCredential(someTenant, someClient, someSecret, &ClientSecretCredentialOptions{ClientOptions: o})
				}
				require.NoError(t, err)
				chain, err := NewChainedTokenCredential([]azcore.TokenCredential{c}, nil)
				require.NoError(t, err)
				l := chain.Explain(ctx0, &ExplainOptions{Probe: true}).Links[0]
				require.Equal(t, Probe{row.present, row.want, row.took}, *l.Probe)
				require.Equal(t, row.name != "IMDS that throttles", l.ThrottledUntil.IsZero())
				if row.name == "no tenant" {
					require.Equal(t, "tenant "+someTenant+" doesn't exist; correct AZURE_TENANT_ID or the options (400 Bad Request, invalid_tenant)", l.Problem)
					require.Equal(t, ReasonIdentityNotFound, l.Reason)
				} else {
					require.Empty(t, l.Problem)
				}
				r := <-sent
				require.Equal(t, "GET "+row.sent, r.Method+" "+r.URL.String())
				require.Empty(t, r.Header, "what a token is asked for with")
				ended, cancel := context.WithCancel(ctx0)
				cancel()
				require.Equal(t, "not asked, since the caller's context has ended", chain.Explain(ended, &ExplainOptions{Probe: true}).Links[0].Probe.Answer)
				require.Empty(t, sent)
			})
		})
	}
}

// A probe is a request like any other: it is sent in turn, and what it is told holds for all.
func TestExplain_probesInTurn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDS(t, func(n int, r *http.Request) (*http.Response, error) {
			if n == 0 {
				return imdsToken(r, time.Hour), delayed(r, 500*time.Millisecond)
			}
			return respond(r, 429, "{}", "Retry-After", "300"), nil
		})
		chain := chainOf(t, nil, c)
		explain := func() Link { return chain.Explain(ctx0, &ExplainOptions{Probe: true}).Links[0] }
		go get(ctx0, chain, vault)
		synctest.Wait()
		short, cancel := context.WithTimeout(ctx0, 100*time.Millisecond)
		defer cancel()
		l := chain.Explain(short, &ExplainOptions{Probe: true}).Links[0]
		require.Equal(t, "not asked, since the caller's context has ended", l.Probe.Answer)
		require.Len(t, f.Requests(), 1)
		require.Contains(t, explain().Probe.Answer, "429")
		l = explain()
		require.Equal(t, "not asked, since the endpoint has asked for a pause", l.Probe.Answer)
		requireJittered(t, 5*time.Minute, l.ThrottledUntil.Sub(time.Now().UTC()))
		require.Contains(t, l.String(), "\n   throttled until 2000-01-01T00:05:0")
		require.Len(t, f.Requests(), 2)
		time.Sleep(tokens.FlightLimit)
	})
	bubble(t, func(t *testing.T) {
		f, c := newFakeIMDS(t, func(_ int, r *http.Request) (*http.Response, error) {
			return respond(r, 429, "{}", "Retry-After", "300"), nil
		})
		l := chainOf(t, nil, c).Explain(ctx0, &ExplainOptions{Probe: true}).Links[0]
		require.Equal(t, "there, and it is IMDS (a probe gets 429 Too Many Requests)", l.Probe.Answer)
		requireJittered(t, 5*time.Minute, time.Until(l.ThrottledUntil))
		require.Equal(t, ReasonThrottled, asCredentialError(t, get(ctx0, c, vault).Err))
		require.Len(t, f.Requests(), 1, "the probe alone")
	})
}

// What an option names, no variable does.
func TestExplain_variablesThatTheLinkGoesBy(t *testing.T) {
	blankEnvironment(t)
	setenv(t, "AZURE_CLIENT_ID="+someClient, "AZURE_TENANT_ID=t", "AZURE_FEDERATED_TOKEN_FILE=/t", "AZURE_AUTHORITY_HOST=https://localhost/",
		"IDENTITY_ENDPOINT=http://localhost/msi", "IDENTITY_HEADER="+someHeader, "DEFAULT_IDENTITY_CLIENT_ID="+someGUID)
	var links []azcore.TokenCredential
	add := func(c azcore.TokenCredential, err error) {
		require.NoError(t, err)
		links = append(links, c)
	}
	add(NewManagedIdentityCredential(&ManagedIdentityCredentialOptions{Source: SourceIMDS, ID: ObjectID(someGUID)}))
	add(NewManagedIdentityCredential(nil))
	add(NewWorkloadIdentityCredential(&WorkloadIdentityCredentialOptions{ClientID: someGUID, TokenFilePath: "/u"}))
	add(NewClientSecretCredential("t", someClient, someSecret, &ClientSecretCredentialOptions{ClientOptions: azcore.ClientOptions{Cloud: cloud.AzurePublic}}))
	chain, err := NewChainedTokenCredential(links, nil)
	require.NoError(t, err)
	var variables [][]string
	for _, l := range chain.Explain(ctx0, nil).Links {
		variables = append(variables, l.Variables)
	}
	require.Equal(t, [][]string{nil, {"IDENTITY_ENDPOINT=http://localhost/msi", "IDENTITY_HEADER"},
		{"AZURE_TENANT_ID=t", "AZURE_AUTHORITY_HOST=https://localhost/"}, nil}, variables)
}

func TestExplain_showsOfAVariableOnlyWhatItIsFor(t *testing.T) {
	for _, row := range []struct{ name, value, want string }{
		{"IDENTITY_ENDPOINT", "http://localhost:1/msi", "http://localhost:1/msi"},
		{"IDENTITY_ENDPOINT", "http://localhost/msi?code=" + someSecret, "http://localhost/msi?…"},
		{"IDENTITY_ENDPOINT", "http://localhost/msi#s3cr3t", "http://localhost/msi?…"},
		{"IDENTITY_ENDPOINT", someSecret, ""},
		{"IDENTITY_ENDPOINT", "http://me:s3cr3t%40localhost/", ""},
		{"AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://me:s3cr3t@localhost/", ""},
		{"AZURE_AUTHORITY_HOST", "HTTPS://Login.Example", "https://Login.Example"},
		{"AZURE_AUTHORITY_HOST", "-----BEGIN PRIVATE KEY-----", ""},
		{"AZURE_AUTHORITY_HOST", "https://localhost/\x1b[2J", ""},
		{"AZURE_CLIENT_ID", someGUID, someGUID},
		{"AZURE_CLIENT_ID", someSecret, ""},
		{"AZURE_TENANT_ID", "contoso.example", "contoso.example"},
		{"AZURE_TENANT_ID", "eyJhIjoxfQ.eyJiIjoyfQ.c", ""},
		{"AZURE_TENANT_ID", someSecret, ""},
		{"AZURE_REGIONAL_AUTHORITY_NAME", "westus2", "westus2"},
		{"AZURE_REGIONAL_AUTHORITY_NAME", someSecret, ""},
		{"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "1", "1"},
		{"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", someSecret, ""},
		{thumbprintVariable, strings.Repeat("A0", 20), strings.Repeat("A0", 20)},
		{thumbprintVariable, someSecret, ""},
		{tokenProxySNI, "x.ests.aks", "x.ests.aks"},
		{tokenFileVariable, "/var/run/me@home/a?b", "/var/run/me@home/a?b"},
		{tokenFileVariable, `C:\tokens\a`, `C:\tokens\a`},
		{tokenFileVariable, "/a\n/b", ""},
		{tokenFileVariable, secretToken, ""},
		{"MSI_SECRET", someSecret, ""},
		{"MSI_SECRET", "https://localhost/" + someSecret, ""},
		{"UNKNOWN", "https://localhost/" + someSecret, ""},
	} {
		require.Equal(t, row.want, shownValue(row.name, row.value), row.name+"="+row.value)
	}
}

func TestExplain_ofTheDefaultChainInAChain(t *testing.T) {
	blankEnvironment(t)
	t.Setenv(selectorVariable, "prod")
	inner := newDefault(t, DefaultAzureCredentialOptions{})
	t.Setenv(selectorVariable, "dev")
	require.Equal(t, "prod", inner.Explain(ctx0, nil).Selected, "what was followed, whatever is set now")
	for _, links := range [][]azcore.TokenCredential{{inner}, {inner, inner}} {
		require.Len(t, chainOf(t, nil, links...).Explain(ctx0, nil).Links, 3*len(links))
	}
}
