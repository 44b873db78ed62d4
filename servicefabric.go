package managedid

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"unicode"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/managedid/managedid/internal/answer"
)

// serviceFabric is the endpoint that "How to leverage a Service Fabric application's managed identity to access Azure
// services" documents.
var serviceFabric = hostEndpoint{address: "IDENTITY_ENDPOINT", secret: "IDENTITY_HEADER", header: "Secret",
	apiVersion: "2019-07-01-preview"}

var errNotHTTPS = errors.New("IDENTITY_ENDPOINT is not an https URL, without which anybody could read the secret; " +
	"correct it, or if this is not Service Fabric, unset " + thumbprintVariable)

// serviceFabricSource returns the endpoint on a node of a Service Fabric cluster.
func serviceFabricSource(id ManagedIDKind) (*source, error) {
	if id != nil {
		return nil, fmt.Errorf("%s can't take the %s of an identity, nor any other ID, since the cluster knows the "+
			"application's identity; leave the ID out of the options, and AZURE_CLIENT_ID unset",
			SourceServiceFabric, id.idKind())
	}
	s, err := serviceFabric.source(string(SourceServiceFabric), nil)
	if err != nil {
		return nil, err
	} else if !strings.HasPrefix(s.key.address, "https:") {
		return nil, errNotHTTPS
	}
	p, err := parsePin(os.Getenv(thumbprintVariable))
	if err != nil {
		return nil, err
	}
	s.key.identity = fmt.Sprintf("%x", *p)
	s.sendsClaims = true
	s.transport = p.transport
	s.request = serviceFabricRequest
	s.classify = classifyServiceFabric
	s.subject, s.variables = "the application's identity", append(s.variables, thumbprintVariable)
	s.recogniseProbe = func(answer.Answer) bool { return true } // the handshake has compared its certificate
	return s, nil
}

// serviceFabricRequest returns a token request. It names the capability of callers that handle continuous access
// evaluation. After a challenge it names the refused token, so that no cache on the way returns that one again. The
// parameters, and that the claims themselves are not sent, are those of MSAL for .NET (docs/msiv1_token_revocation.md)
// and MSAL for Python.
func serviceFabricRequest(ctx context.Context, a tokenParams) (*policy.Request, error) {
	req, err := serviceFabric.request(ctx, a, nil)
	if err != nil {
		return nil, err
	}
	u := req.Raw().URL
	if u.Scheme != "https" {
		return nil, errNotHTTPS
	}
	q := u.Query()
	if a.cae {
		q.Set("xms_cc", "cp1")
	}
	if a.challenged != "" {
		q.Set("token_sha256_to_refresh", fmt.Sprintf("%x", sha256.Sum256([]byte(a.challenged))))
	}
	u.RawQuery = q.Encode()
	return req, nil
}

// pin is the SHA-1 of the only certificate whose holder may get the secret. Its issuer, name and validity don't matter.
type pin [sha1.Size]byte

func parsePin(thumbprint string) (*pin, error) {
	digits := strings.Map(func(r rune) rune {
		if r == ':' || unicode.IsSpace(r) {
			return -1
		}
		return r
	}, thumbprint)
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != sha1.Size {
		return nil, errors.New(thumbprintVariable +
			" is not the SHA-1 of a certificate, which is 40 hexadecimal digits, with or without colons and blanks")
	}
	p := pin(b)
	return &p, nil
}

func (p *pin) check(s tls.ConnectionState) error {
	if len(s.PeerCertificates) > 0 {
		if sum := sha1.Sum(s.PeerCertificates[0].Raw); subtle.ConstantTimeCompare(sum[:], p[:]) == 1 {
			return nil
		}
	}
	return verdict{reason: ReasonRejectedCredential,
		advice: "the certificate of what answers is not the one that " + thumbprintVariable +
			" names, so the secret was not sent; restart this program if the cluster has renewed it, else find out " +
			"what listens at IDENTITY_ENDPOINT"}
}

// transport returns a copy of the user's client, or of the default one, that talks only to the holder of the
// certificate. It uses only HTTP/1.1, because the HTTP/2 of a copied transport uses the connections of the original.
// Each connection serves one request, because nothing could close the idle connections of the copy.
func (p *pin) transport(given policy.Transporter) (policy.Transporter, error) {
	client, t, err := copyOf(given)
	if err != nil {
		return nil, err
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{}
	}
	config := t.TLSClientConfig
	config.InsecureSkipVerify = true // VerifyConnection decides instead, also for a resumed session
	config.VerifyConnection = p.check
	config.ClientSessionCache, config.NextProtos = nil, nil
	t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	t.ForceAttemptHTTP2, t.Protocols = false, new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.DisableKeepAlives = true
	return client, nil
}

// copyOf copies a client and its transport. It fails if the checks of certificates can't be replaced in the copy.
func copyOf(given policy.Transporter) (*http.Client, *http.Transport, error) {
	client, ok := given.(*http.Client)
	switch {
	case given == nil, ok && client == nil:
		client = metadataClient
	case !ok:
		return nil, nil, unpinned("ClientOptions.Transport is not an *http.Client")
	}
	round := client.Transport
	if round == nil {
		round = http.DefaultTransport
	}
	t, ok := round.(*http.Transport)
	if !ok || t == nil {
		return nil, nil, unpinned("the Transport of the *http.Client is not an *http.Transport")
	}
	t = t.Clone() // before its fields are read, because the first use of the original changes them
	config := t.TLSClientConfig
	switch {
	//lint:ignore SA1019 it would take the place of the handshake
	case t.DialTLS != nil, t.DialTLSContext != nil:
		return nil, nil, unpinned("the *http.Transport has a DialTLS or DialTLSContext")
	case config != nil && (config.VerifyPeerCertificate != nil || config.VerifyConnection != nil):
		return nil, nil, unpinned("the *http.Transport's TLSClientConfig has a VerifyPeerCertificate or " +
			"VerifyConnection")
	}
	copied := *client
	copied.Transport = t
	return &copied, t, nil
}

func unpinned(why string) error {
	return fmt.Errorf("%s, so that the endpoint's certificate can't be compared with %s; "+
		"leave ClientOptions.Transport nil, or give it an *http.Client with a plain *http.Transport",
		why, thumbprintVariable)
}

// classifyServiceFabric decides by the table "Error handling" of the page that serviceFabric names.
func classifyServiceFabric(a answer.Answer) verdict {
	switch {
	case a.Code == "ManagedIdentityNotFound", a.Status == http.StatusNotFound:
		return verdict{reason: ReasonIdentityNotFound,
			advice: "the application has no managed identity, or IDENTITY_HEADER is not this process's; assign an " +
				"identity to the application and map it in its manifest, or restart the program"}
	case a.Code == "SecretHeaderNotFound":
		return verdict{reason: ReasonRejectedCredential,
			advice: "IDENTITY_HEADER did not arrive; something on the way, such as a policy, has taken out the " +
				"header Secret"}
	case a.Code == "ArgumentNullOrEmpty":
		return verdict{reason: ReasonInvalidScope, advice: "a parameter is missing or empty; correct the scope"}
	case a.Code == "InvalidApiVersion":
		return verdict{reason: ReasonConfiguration,
			advice: "the cluster doesn't take api-version " + serviceFabric.apiVersion +
				"; update its Service Fabric runtime, or correct IDENTITY_ENDPOINT, which is another service's"}
	case a.Code == "InternalServerError":
		return verdict{reason: ReasonNotReady,
			advice: "the endpoint failed, after all retries; a wrong resource is the usual cause, so check the " +
				"scope, and whether the resource ends with a slash"}
	case a.Status >= 500:
		return verdict{reason: ReasonNotReady, advice: "the endpoint is not ready, after all retries"}
	}
	return verdict{advice: "the request was refused"}
}
