package conformance

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/testkit"
)

// wireRow is a kind of credential, and what it sends for one token. Its files are testdata/wire/NAME.txt, or of a source
// NAME-ID.txt for each kind of ID that it takes; the others must be refused.
type wireRow struct {
	name        string
	environment string // NAME=value, separated by blanks
	source      managedid.Source
	takes       string // of wireIDs, separated by blanks; none: it is of no managed identity
	// credential is made of this, and may script the answers; nil: of the source.
	credential func(*testing.T, azcore.ClientOptions, managedid.ManagedIDKind, *fakeIMDS) (azcore.TokenCredential, error)
}

var wireIDs = map[string]managedid.ManagedIDKind{"system": nil, "client-id": managedid.ClientID(someGUID), "object-id": managedid.ObjectID(someGUID), "resource-id": managedid.ResourceID(someResource)}

const everyID = "system client-id object-id resource-id"

var wireTable = []wireRow{
	{name: "imds", source: managedid.SourceIMDS, takes: everyID},
	{name: "appservice", source: managedid.SourceAppService, takes: everyID, environment: "IDENTITY_ENDPOINT=http://localhost:42356/msi/token IDENTITY_HEADER=made-up"},
	{name: "appservice-2017", source: managedid.SourceAppService, takes: "system client-id", environment: "MSI_ENDPOINT=http://127.0.0.1:41001/MSI/token/ MSI_SECRET=made-up"},
	{name: "azureml", source: managedid.SourceAzureML, takes: "system client-id", environment: "MSI_ENDPOINT=http://127.0.0.1:46808/MSI/auth MSI_SECRET=made-up DEFAULT_IDENTITY_CLIENT_ID=" + someClient},
	{name: "azureml-nodefault", source: managedid.SourceAzureML, takes: "system client-id", environment: "MSI_ENDPOINT=http://127.0.0.1:46808/MSI/auth?y=1 MSI_SECRET=made-up"},
	{name: "cloudshell", source: managedid.SourceCloudShell, takes: "system", environment: "MSI_ENDPOINT=http://localhost:50342/oauth2/token"},
	{name: "arc", takes: everyID, credential: wireArc},
	{name: "servicefabric", source: managedid.SourceServiceFabric, takes: "system",
		environment: "IDENTITY_ENDPOINT=https://localhost:2377/metadata/identity/oauth2/token IDENTITY_HEADER=made-up IDENTITY_SERVER_THUMBPRINT=" + someThumbprint},
	{name: "entra-secret", credential: wireSecret},
	{name: "entra-assertion", credential: wireAssertion},
	{name: "entra-callback", credential: wireCallback},
	{name: "entra-certificate", credential: wireCertificate},
	{name: "entra-certificate-chain", environment: "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN=true", credential: wireCertificate},
}

// wireArc scripts the agent's challenge, and its confirmation of the identity.
func wireArc(t *testing.T, o azcore.ClientOptions, id managedid.ManagedIDKind, f *fakeIMDS) (azcore.TokenCredential, error) {
	dir := arcFolder(t)
	writeFile(t, filepath.Join(dir, "k.key"), "made-up\n")
	f.Script = func(n int, r *http.Request) (*http.Response, error) {
		if n == 0 {
			return respond(r, 401, "", "WWW-Authenticate", "Basic realm="+filepath.Join(dir, "k.key")), nil
		} else if id == nil {
			return nil, nil
		}
		body := tokenBody("", time.Now().Add(time.Hour))
		return respond(r, 200, fmt.Sprintf(`%s,%q:%q}`, strings.TrimSuffix(body, "}"), selectorOf(id), id)), nil
	}
	return arcWith(t, o, id, nil), nil
}

// selectorOf is the name by which the agent knows an ID.
func selectorOf(id managedid.ManagedIDKind) string {
	switch id.(type) {
	case managedid.ClientID:
		return "client_id"
	case managedid.ObjectID:
		return "object_id"
	}
	return "msi_res_id"
}

func wireSecret(_ *testing.T, o azcore.ClientOptions, _ managedid.ManagedIDKind, _ *fakeIMDS) (azcore.TokenCredential, error) {
	return managedid.NewClientSecretCredential(someTenant, someClient, "made-up~/+ &=%", &managedid.ClientSecretCredentialOptions{ClientOptions: o})
}

func wireAssertion(t *testing.T, o azcore.ClientOptions, _ managedid.ManagedIDKind, _ *fakeIMDS) (azcore.TokenCredential, error) {
	file := filepath.Join(t.TempDir(), "token")
	writeFile(t, file, "made.up.assertion\n")
	return managedid.NewWorkloadIdentityCredential(&managedid.WorkloadIdentityCredentialOptions{ClientOptions: o, TenantID: someTenant, ClientID: someClient, TokenFilePath: file})
}

func wireCallback(_ *testing.T, o azcore.ClientOptions, _ managedid.ManagedIDKind, _ *fakeIMDS) (azcore.TokenCredential, error) {
	assertion := func(context.Context) (string, error) { return "made.up.assertion", nil }
	return managedid.NewClientAssertionCredential(someTenant, someClient, assertion, &managedid.ClientAssertionCredentialOptions{ClientOptions: o})
}

func wireCertificate(t *testing.T, o azcore.ClientOptions, _ managedid.ManagedIDKind, _ *fakeIMDS) (azcore.TokenCredential, error) {
	setenv(t, "AZURE_TENANT_ID="+someTenant, "AZURE_CLIENT_ID="+someClient, "AZURE_CLIENT_CERTIFICATE_PATH="+testkit.CertificateFile("leaf-chain.pem"))
	return managedid.NewEnvironmentCredential(&managedid.EnvironmentCredentialOptions{ClientOptions: o})
}

func TestWire_ofEachSourceAndIdentity(t *testing.T) {
	var files []string
	for _, row := range wireTable {
		ids := map[string]managedid.ManagedIDKind{"": nil}
		if row.takes != "" {
			ids = wireIDs
		}
		for _, id := range slices.Sorted(maps.Keys(ids)) {
			name := strings.TrimSuffix(row.name+"-"+id, "-")
			file := filepath.Join("testdata", "wire", name+".txt")
			taken := id == "" || slices.Contains(strings.Fields(row.takes), id)
			if taken {
				files = append(files, file)
			}
			t.Run(name, func(t *testing.T) {
				blankEnvironment(t)
				setenv(t, strings.Fields(row.environment)...)
				sent, err := row.send(t, ids[id])
				if !taken {
					require.ErrorContains(t, err, "can't take the "+strings.Replace(id, "-id", " ID", 1)+" of an identity")
					require.Empty(t, sent)
					return
				}
				require.NoError(t, err)
				if *update {
					writeFile(t, file, sent)
				}
				want, err := os.ReadFile(file)
				require.NoError(t, err)
				require.Equal(t, string(want), sent)
			})
		}
	}
	there, err := filepath.Glob(filepath.Join("testdata", "wire", "*"))
	require.NoError(t, err)
	require.ElementsMatch(t, files, there)
}

// send returns the requests for one token. It meets them in a policy, since not every source takes any transport.
func (row wireRow) send(t *testing.T, id managedid.ManagedIDKind) (sent string, err error) {
	fake := &fakeIMDS{Began: time.Now()}
	o := azcore.ClientOptions{PerRetryPolicies: []policy.Policy{policyFunc(func(r *policy.Request) (*http.Response, error) {
		sent += wireText(t, r.Raw())
		return fake.Do(r.Raw())
	})}}
	var c azcore.TokenCredential
	if row.credential != nil {
		c, err = row.credential(t, o, id, fake)
	} else {
		c, err = managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ClientOptions: o, ID: id, Source: row.source})
	}
	if err == nil {
		err = get(t.Context(), c, vault).Err
	}
	return sent, err
}

// wireText writes a request with a line for each parameter and header, in the order of the query and body and in that of the
// headers' names, without what differs each time or from one version and platform to the next.
func wireText(t *testing.T, r *http.Request) string {
	lines := func(parameters string) string { return strings.ReplaceAll(parameters, "&", "\n&") + "\n" }
	var b bytes.Buffer
	target := *r.URL
	target.RawQuery = ""
	fmt.Fprintf(&b, "%s %s\n", r.Method, target.String())
	if r.URL.RawQuery != "" {
		b.WriteString("?" + lines(r.URL.RawQuery))
	}
	h := r.Header.Clone()
	agent := regexp.MustCompile(`^azsdk-go-\S+/v\d+\.\d+\.\d+ \(.*\)$`)
	require.Regexp(t, agent, h.Get("User-Agent"))
	h.Set("User-Agent", "azsdk-go-NAME/VERSION (PLATFORM)")
	for _, random := range []string{"Client-Request-Id", "X-Ms-Client-Request-Id"} {
		h.Del(random)
	}
	if r.Body != nil {
		h.Set("Content-Length", fmt.Sprint(r.ContentLength))
	}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Len(t, body, int(r.ContentLength))
		b.WriteString("\n" + lines(readable(string(body))))
	}
	return b.String()
}

var ofEachTime = regexp.MustCompile(`("jti":"|"exp":|"nbf":)[0-9a-f-]+`)

// readable puts what a signed assertion says in its place.
func readable(form string) string {
	_, rest, _ := strings.Cut(form, "client_assertion=")
	assertion, _, _ := strings.Cut(rest, "&")
	parts := strings.Split(assertion, ".")
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	if len(parts) != 3 || err != nil || !json.Valid(header) {
		return form
	}
	claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
	said := string(header) + "." + string(ofEachTime.ReplaceAll(claims, []byte("${1}VARIES"))) + ".SIGNATURE"
	return strings.Replace(form, assertion, said, 1)
}
