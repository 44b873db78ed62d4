package managedid

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	goruntime "runtime"
	"strings"
	"unicode"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/internal/files"
	"github.com/managedid/managedid/internal/text"
)

// arcSelectors are the query parameters that name an identity, by kind of ID. The agent ignores mi_res_id in a request
// and returns the token of the system-assigned identity.
var arcSelectors = [3]string{"client_id", "object_id", "msi_res_id"}

// arcEndpoint returns the address that the agent's variables name. Without them it returns the address on which the
// agent listens by default ("Access Azure resources by using managed identity on Azure Arc-enabled servers").
func arcEndpoint() (*url.URL, error) {
	endpoint := os.Getenv("IDENTITY_ENDPOINT")
	if endpoint == "" || os.Getenv("IMDS_ENDPOINT") == "" {
		endpoint = "http://127.0.0.1:40342/metadata/identity/oauth2/token"
	}
	return parseEndpoint("IDENTITY_ENDPOINT", endpoint)
}

// localArcSource returns the endpoint of the agent on this machine.
func localArcSource(id ManagedIDKind) (*source, error) {
	keys, err := arcKeysOn(goruntime.GOOS, os.Getenv("ProgramData"))
	if err != nil {
		return nil, err
	}
	endpoint, err := arcEndpoint()
	if err != nil {
		return nil, err
	}
	return arcSource(id, endpoint, keys), nil
}

// arcSource returns the endpoint of the Azure Connected Machine agent. The agent is installed if its variables or its
// file exist. It first answers with the path of a key file, which only members of a group can read, and then gives a
// token for the key.
func arcSource(id ManagedIDKind, endpoint *url.URL, keys arcKeys) *source {
	request := func(ctx context.Context, a tokenParams) (*policy.Request, error) {
		u := withIdentity(*endpoint, "2020-06-01", a.scope, id, arcSelectors)
		req, err := runtime.NewRequest(ctx, http.MethodGet, u)
		if err == nil {
			req.Raw().Header.Set("Metadata", "true")
		}
		return req, err
	}
	return &source{
		name:      string(SourceAzureArc),
		host:      endpoint.Host,
		key:       keyOf(string(SourceAzureArc), endpoint, identityName(id)),
		announced: true,
		described: described{variables: []string{"IDENTITY_ENDPOINT", "IMDS_ENDPOINT"}},
		request:   request,
		followUp: func(
			ctx context.Context, a tokenParams, _ *policy.Request, got *http.Response,
		) (*policy.Request, error) {
			key, err := arcChallenge(got, keys)
			if key == "" || err != nil {
				return nil, err
			}
			req, err := request(ctx, a)
			if err == nil {
				req.Raw().Header.Set("Authorization", "Basic "+key)
			}
			return req, err
		},
		oneTime:  true,
		confirm:  func(body []byte) error { return confirmArc(body, id) },
		classify: func(a answer.Answer) verdict { return classifyArc(a, id) },
	}
}

// arcChallenge returns the key that an answer asks for, or "" if the answer is final. It rejects a token in the first
// answer: only the agent can name a file in the agent's folder, and this tells it from another program on its port.
func arcChallenge(got *http.Response, keys arcKeys) (string, error) {
	switch {
	case got.StatusCode/100 == 2:
		return "", verdict{reason: ReasonMalformedAnswer,
			advice: "the endpoint gave a token without asking for a key, as the agent never does, so it was not " +
				"taken; see what listens at the endpoint"}
	case got.StatusCode != http.StatusUnauthorized:
		return "", nil
	}
	const challenge = "Basic realm="
	for _, value := range got.Header.Values("WWW-Authenticate") {
		if len(value) >= len(challenge) && strings.EqualFold(value[:len(challenge)], challenge) {
			return keys.read(value[len(challenge):])
		}
	}
	return "", verdict{reason: ReasonMalformedAnswer,
		advice: "the endpoint's 401 names no key file (WWW-Authenticate: Basic realm=PATH)"}
}

// confirmArc checks that the answer names the requested identity. An agent without user-assigned identities ignores the
// selector and returns the token of the system-assigned identity.
func confirmArc(body []byte, id ManagedIDKind) error {
	if id == nil {
		return nil
	}
	names := []string{arcSelectors[id.idKind()]}
	if id.idKind() == kindResourceID {
		names = append(names, "mi_res_id")
	}
	if its, others := answer.Echoes(body, id.String(), names...); !its || others {
		return unconfirmed(id)
	}
	return nil
}

func unconfirmed(id ManagedIDKind) verdict {
	return verdict{reason: ReasonMalformedAnswer,
		advice: fmt.Sprintf("the agent did not confirm that its token is for the identity with %s %s, so that was "+
			"discarded; update the agent to a version with user-assigned identities, or name none in the options and "+
			"AZURE_CLIENT_ID", id.idKind(), text.ID(id.String()))}
}

func classifyArc(a answer.Answer, id ManagedIDKind) verdict {
	switch {
	case a.Code == "identity_not_found":
		return verdict{reason: ReasonIdentityNotFound, advice: missingIdentity(id)}
	case a.Status == http.StatusUnauthorized:
		return verdict{reason: ReasonRejectedCredential,
			advice: "the agent refused the key from the file that it had named; restart the agent if this goes on"}
	case a.Status >= 500:
		return verdict{reason: ReasonNotReady, advice: "the agent is not ready, after all retries"}
	}
	return verdict{advice: "the request was refused"}
}

// maxArcKey is the largest size of a key file in bytes, as in MSAL's implementations of this protocol.
const maxArcKey = 4096

// arcKeys says where the agent puts its key files, and who may read them.
type arcKeys struct {
	folder    string
	separator string
	group     string // what the user does to get into the group that may read the files
}

// arcKeysOn returns the folder of the key files on an operating system. The folders are from "Access Azure resources by
// using managed identity on Azure Arc-enabled servers"; the groups are from there and from issue 76673 of
// MicrosoftDocs/azure-docs. programData is the value of %ProgramData%.
func arcKeysOn(goos, programData string) (arcKeys, error) {
	switch goos {
	case "linux":
		return arcKeys{"/var/opt/azcmagent/tokens", "/", "add its user to the group himds"}, nil
	case "windows":
		if programData == "" {
			return arcKeys{}, errors.New("ProgramData is not set; set it to the folder of the agent's files")
		}
		if len(programData) < 3 || programData[1:3] != `:\` { // a relative path, or one on another machine
			return arcKeys{}, errors.New("ProgramData is not a folder on a drive of this machine; correct it")
		}
		return arcKeys{strings.TrimRight(programData, `\`) + `\AzureConnectedMachineAgent\Tokens`, `\`,
			"add its user to the group Administrators or Hybrid agent extension applications"}, nil
	}
	return arcKeys{}, fmt.Errorf("the agent of %s is for Linux and Windows only, not %s", SourceAzureArc, goos)
}

// owns reports whether a path is that of a key file: exactly this folder, then a name that ends in .key and leads to no
// other folder. On Windows, a backslash separates names and a colon starts the name of a stream, so both are rejected.
func (k arcKeys) owns(path string) bool {
	name, inside := strings.CutPrefix(path, k.folder+k.separator)
	base, isKey := strings.CutSuffix(name, ".key")
	return inside && isKey && base != "" && !strings.Contains(path, "..") &&
		!strings.ContainsAny(name, `/\:`) && !strings.ContainsFunc(path, unicode.IsControl)
}

// read returns the key in the file that the agent named. Its errors contain neither the path, which changes with each
// request, nor anything from the file.
func (k arcKeys) read(path string) (string, error) {
	if !k.owns(path) {
		return "", verdict{reason: ReasonMalformedAnswer,
			advice: "the endpoint named a key file that is not of the form " +
				k.folder + k.separator + "NAME.key; nothing was read or sent"}
	}
	content, err := files.ReadUnlinked(path, maxArcKey)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("the agent's key file in %s may not be read by this program; %s", k.folder, k.group)
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("the agent's key file is not in %s as this program sees it; in a container, mount that "+
			"folder; else %s", k.folder, k.group)
	case err != nil:
		return "", fmt.Errorf("the agent's key file in %s is unusable: %w", k.folder, err)
	}
	key := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if strings.TrimSpace(key) == "" {
		return "", fmt.Errorf("the agent's key file in %s is empty; restart the agent", k.folder)
	} else if strings.ContainsFunc(key, unicode.IsControl) {
		return "", fmt.Errorf("the agent's key file in %s has control characters; restart the agent", k.folder)
	}
	return key, nil
}
