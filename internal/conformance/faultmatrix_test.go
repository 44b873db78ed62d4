package conformance

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/internal/tokens"
	"github.com/managedid/managedid/managedidtest"
)

// faultSource is a credential and the host that it is on.
type faultSource struct {
	name         string
	host         managedidtest.Endpoint
	takesID      bool
	secure       bool
	answeredOnly bool
	credential   func(*testing.T, *faultHost, azcore.ClientOptions, *managedid.TokenCache, managedid.ManagedIDKind) (azcore.TokenCredential, error)
}

var faultSources = []faultSource{
	{name: "IMDS", host: managedidtest.IMDS, takesID: true, credential: faultyManaged("")},
	{name: "IMDS in the default chain", host: managedidtest.IMDS, takesID: true, credential: faultyChain},
	{name: "App Service", host: managedidtest.AppService, takesID: true, credential: faultyManaged("")},
	{name: "App Service 2017-09-01", host: managedidtest.AppService2017, takesID: true, credential: faultyManaged(managedid.SourceAppService)},
	{name: "Azure Arc", host: managedidtest.Arc, takesID: true, credential: faultyManaged(managedid.SourceAzureArc)},
	{name: "Azure Arc, at the request with the key", host: managedidtest.Arc, takesID: true, answeredOnly: true, credential: faultyManaged(managedid.SourceAzureArc)},
	{name: "Azure ML", host: managedidtest.AzureML, takesID: true, credential: faultyManaged("")},
	{name: "Cloud Shell", host: managedidtest.CloudShell, credential: faultyManaged("")},
	{name: "Service Fabric", host: managedidtest.ServiceFabric, secure: true, credential: faultyManaged("")},
	{name: "Entra, secret", host: managedidtest.EntraSecret, secure: true, credential: faultyEnvironment},
	{name: "Entra, certificate", host: managedidtest.EntraSecret, secure: true, credential: faultyCertificate},
	{name: "Entra, workload identity in the default chain", host: managedidtest.Workload, secure: true, credential: faultyChain},
}

func faultyManaged(source managedid.Source) func(*testing.T, *faultHost, azcore.ClientOptions, *managedid.TokenCache, managedid.ManagedIDKind) (azcore.TokenCredential, error) {
	return func(_ *testing.T, _ *faultHost, o azcore.ClientOptions, cache *managedid.TokenCache, id managedid.ManagedIDKind) (azcore.TokenCredential, error) {
		return managedid.NewManagedIdentityCredential(&managedid.ManagedIdentityCredentialOptions{ClientOptions: o, Cache: cache, Source: source, ID: id})
	}
}

func faultyChain(_ *testing.T, _ *faultHost, o azcore.ClientOptions, cache *managedid.TokenCache, id managedid.ManagedIDKind) (azcore.TokenCredential, error) {
	options := &managedid.DefaultAzureCredentialOptions{ClientOptions: o, Cache: cache}
	if id != nil {
		options.ManagedIdentityClientID = id.String()
	}
	return managedid.NewDefaultAzureCredential(options)
}

func faultyEnvironment(_ *testing.T, _ *faultHost, o azcore.ClientOptions, cache *managedid.TokenCache, _ managedid.ManagedIDKind) (azcore.TokenCredential, error) {
	return managedid.NewEnvironmentCredential(&managedid.EnvironmentCredentialOptions{ClientOptions: o, Cache: cache})
}

func faultyCertificate(t *testing.T, _ *faultHost, o azcore.ClientOptions, cache *managedid.TokenCache, _ managedid.ManagedIDKind) (azcore.TokenCredential, error) {
	certs, key, err := managedid.ParseCertificates(testkit.Fixture(t, "leaf-chain.pem"), nil)
	require.NoError(t, err)
	return managedid.NewClientCertificateCredential(os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID"), certs, key, &managedid.ClientCertificateCredentialOptions{ClientOptions: o, Cache: cache})
}

// faultCell is a fault at a source: what comes of a call without a token and without a deadline.
type faultCell struct {
	Outcome string
	Tries   string // or at most
	Wait    string // at most
}

// Bounds of waits: none is within the jitter of any schedule of retries.
var bounds = []struct {
	limit time.Duration
	text  string
}{{0, "at once"}, {time.Second, "1 s"}, {20 * time.Second, "20 s"}, {time.Minute, "1 min"}, {130 * time.Second, "2 min"}, {tokens.FlightLimit, "3 min"}}

func boundOf(d time.Duration) string {
	for _, b := range bounds {
		if d <= b.limit {
			return b.text
		}
	}
	return "too long: " + d.String()
}

// triesOf counts few tries, and says of more how many they are at most, since rests and pauses are random.
func triesOf(n int) string {
	if n == 1 {
		return "1 try"
	}
	for _, limit := range []int{12, 24, 37, 44, 65, 120, 200} {
		if n > 7 && n <= limit {
			return fmt.Sprintf("up to %d tries", limit)
		}
	}
	return fmt.Sprintf("%d tries", n)
}

func outcomeOf(err error) string {
	if err == nil {
		return "token"
	}
	kind, reason := "failed", managedid.ReasonOf(err)
	if _, ok := asType[*managedid.CredentialUnavailableError](err); ok {
		kind = "unavailable"
	}
	if reason == "" {
		return kind
	}
	return fmt.Sprintf("%s (%s)", kind, reason)
}

// play makes a cell, and checks what holds for each.
func (of *faultSource) play(t *testing.T, row *faultRow, certificates map[string]*tls.Certificate) (result faultCell) {
	bubble(t, func(t *testing.T) {
		h, closed := newFaultHost(t, of, row, certificates)
		defer closed() // before the bubble's last wait, in which its connections end
		fresh := func() azcore.TokenCredential {
			var id managedid.ManagedIDKind
			if row.id {
				id = managedid.ClientID(someGUID)
			}
			c, err := of.credential(t, h, azcore.ClientOptions{Transport: h.client()}, managedid.NewTokenCache(&managedid.TokenCacheOptions{RefreshBefore: tokens.DefaultRefreshBefore}), id)
			require.NoError(t, err)
			return c
		}
		c := fresh()
		h.begin()
		r := get(ctx0, c, vault)
		result = faultCell{outcomeOf(r.Err), triesOf(int(h.tries.Load())), boundOf(r.Took)}
		checkResult(t, r)
		impatient(t, fresh())
		h.end()
		if row.options.TokenLifetime == 0 {
			recovers(t, c)
			survives(t, h, fresh())
		}
	})
	return result
}

func checkResult(t *testing.T, r result) {
	t.Helper()
	if r.Err != nil {
		asCredentialError(t, r.Err)
		notOfAContext(t, r.Err)
		return
	}
	require.NotEmpty(t, r.Token.Token)
	require.True(t, r.Token.ExpiresOn.After(time.Now()))
}

// impatient callers leave in time.
func impatient(t *testing.T, c azcore.TokenCredential) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx0, 1500*time.Millisecond)
	defer cancel()
	r := get(ctx, c, vault)
	require.LessOrEqual(t, r.Took, 1500*time.Millisecond)
	if r.Err != nil {
		asCredentialError(t, r.Err)
	}
}

// recovers: once the fault has ended, a caller waits no longer than the longest pause that an endpoint can have asked for.
func recovers(t *testing.T, c azcore.TokenCredential) {
	t.Helper()
	var r result
	for range 6 {
		if r = get(ctx0, c, vault); r.Err == nil {
			return
		}
		time.Sleep(time.Minute)
	}
	require.NoError(t, r.Err)
}

// survives: whatever the endpoint does, a valid token is handed out until its end, and nobody waits long for another.
func survives(t *testing.T, h *faultHost, c azcore.TokenCredential) {
	t.Helper()
	first := get(ctx0, c, vault)
	require.NoError(t, first.Err)
	h.begin()
	defer h.end()
	for _, left := range []time.Duration{299 * time.Second, 200 * time.Second, 119 * time.Second, 60 * time.Second, time.Second} {
		time.Sleep(time.Until(first.Token.ExpiresOn.Add(-left)))
		r := get(ctx0, c, vault)
		require.NoError(t, r.Err)
		require.LessOrEqual(t, r.Took, tokens.UrgentWait)
		require.True(t, r.Token.ExpiresOn.After(time.Now()))
	}
}
