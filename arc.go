package managedid

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	goruntime "runtime"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// arcSelectors name an identity by kind of ID. The agent takes mi_res_id for no selector, and gives the system's token.
var arcSelectors = [3]string{"client_id", "object_id", "msi_res_id"}

// arcEndpoint is where the agent's variables say, or else where the agent listens without them ("Access Azure resources by
// using managed identity on Azure Arc-enabled servers").
func arcEndpoint() (*url.URL, error) {
	endpoint := os.Getenv("IDENTITY_ENDPOINT")
	if endpoint == "" || os.Getenv("IMDS_ENDPOINT") == "" {
		endpoint = "http://127.0.0.1:40342/metadata/identity/oauth2/token"
	}
	return parseEndpoint("IDENTITY_ENDPOINT", endpoint)
}

// localArcSource is this machine's agent.
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

// arcSource is the endpoint of the Azure Connected Machine agent, which is installed wherever its variables or its file are.
// It answers with the path of a key file, which only members of a group may read, and gives a token for the key.
func arcSource(id ManagedIDKind, endpoint *url.URL, keys arcKeys) *source {
	request := func(ctx context.Context, a ask) (*policy.Request, error) {
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
		endpoint:  endpoint.String(),
		announced: true,
		explained: explained{variables: []string{"IDENTITY_ENDPOINT", "IMDS_ENDPOINT"}},
		// an agent that is restarting is back within seconds; the status codes are azcore's own, without 404, which is final
		retry:   hostRetry,
		request: request,
		again: func(ctx context.Context, a ask, _ *policy.Request, got *http.Response) (*policy.Request, error) {
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
		oneTime: true,
		confirm: func(body []byte) error { return confirmArc(body, id) },
		explain: func(a answer) verdict { return explainArc(a, id) },
	}
}

// arcChallenge returns the key that an answer asks for, or "" where the answer is final. A token at the first request is
// refused: that it can name a file in the agent's folder is all that tells the agent from another program on its port.
func arcChallenge(got *http.Response, keys arcKeys) (string, error) {
	switch {
	case got.StatusCode/100 == 2:
		return "", verdict{reason: ReasonMalformedAnswer, advice: "the endpoint gave a token without asking for a key, as the agent never does, so it was not taken; see what listens at the endpoint"}
	case got.StatusCode != http.StatusUnauthorized:
		return "", nil
	}
	const challenge = "Basic realm="
	for _, value := range got.Header.Values("WWW-Authenticate") {
		if len(value) >= len(challenge) && strings.EqualFold(value[:len(challenge)], challenge) {
			return keys.read(value[len(challenge):])
		}
	}
	return "", verdict{reason: ReasonMalformedAnswer, advice: "the endpoint's 401 names no key file (WWW-Authenticate: Basic realm=PATH)"}
}

// confirmArc checks that the answer names the identity that was asked for, since an agent without user-assigned identities
// ignores the selector and gives the system-assigned identity's token.
func confirmArc(body []byte, id ManagedIDKind) error {
	if id == nil {
		return nil
	}
	names := []string{arcSelectors[id.idKind()]}
	if id.idKind() == kindResourceID {
		names = append(names, "mi_res_id")
	}
	if its, others := echoed(body, id, names...); !its || others {
		return unconfirmed(id)
	}
	return nil
}

func unconfirmed(id ManagedIDKind) verdict {
	return verdict{reason: ReasonMalformedAnswer, advice: fmt.Sprintf("the agent did not confirm that its token is for the identity with %s %s, so that was "+
		"discarded; update the agent to a version with user-assigned identities, or name none in the options and AZURE_CLIENT_ID", id.idKind(), shownID(id.String()))}
}

func explainArc(a answer, id ManagedIDKind) verdict {
	switch {
	case a.code == "identity_not_found":
		return verdict{reason: ReasonIdentityNotFound, advice: missingIdentity(id)}
	case a.status == http.StatusUnauthorized:
		return verdict{reason: ReasonRejectedCredential, advice: "the agent refused the key from the file that it had named; restart the agent if this goes on"}
	case a.status >= 500:
		return verdict{reason: ReasonNotReady, advice: "the agent is not ready, after all retries"}
	}
	return verdict{advice: "the request was refused"}
}
