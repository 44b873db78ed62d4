package conformance

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/answer"
	"github.com/managedid/managedid/managedidtest"
)

func TestEntra_overSockets(t *testing.T) {
	for _, way := range []managedidtest.Endpoint{managedidtest.EntraSecret, managedidtest.EntraCertificate, managedidtest.Workload} {
		t.Run(string(way), func(t *testing.T) {
			s := newServer(t, way, nil)
			c := newDefault(t, managedid.DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: s.Client()}})
			r := get(ctx0, c, vault)
			require.NoError(t, r.Err)
			claims, err := managedidtest.VerifyToken(ctx0, s.Client(), s.JWKSURL(), r.Token.Token, "https://vault.azure.net")
			require.NoError(t, err)
			require.Equal(t, s.Applications()[0].ClientID, claims.ClientID)
			require.Equal(t, s.TenantID(), claims.TenantID)
		})
	}
}

func TestEntra_itsCertificateIsChecked(t *testing.T) {
	s := newServer(t, managedidtest.EntraSecret, nil)
	c := newDefault(t, managedid.DefaultAzureCredentialOptions{Cache: managedid.NewTokenCache(nil)}) // doesn't know the emulator's CA
	err := get(ctx0, c, vault).Err
	require.ErrorContains(t, err, "certificate signed by unknown authority")
	require.Equal(t, managedid.ReasonNotReady, asCredentialError(t, err))
	require.IsType(t, &managedid.AuthenticationFailedError{}, err)
	require.Empty(t, s.Requests())
}

// 307 and 308 would send the body, and with it the secret, onward.
func TestVector8_EntrasRedirectsAreNotFollowed(t *testing.T) {
	var onward atomic.Int32
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { onward.Add(1) }))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := newServer(t, managedidtest.EntraSecret, nil)
		s.Inject(managedidtest.Fault{Endpoint: managedidtest.Entra, Status: status, Header: http.Header{"Location": {elsewhere.URL}}})
		c := newDefault(t, managedid.DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: s.Client()}})
		err := get(ctx0, c, vault).Err
		require.IsType(t, &managedid.AuthenticationFailedError{}, err)
		requireError(t, err, "EnvironmentCredential: Entra: the request was refused ("+answer.StatusLine(status)+")")
		require.Len(t, s.Requests(), 1)
	}
	require.Zero(t, onward.Load())
}

func TestEntra_aRefusedConnectionIsNotUnavailable(t *testing.T) {
	s := newServer(t, managedidtest.Workload, nil)
	s.Inject(managedidtest.Fault{Endpoint: managedidtest.Entra, Refused: true})
	options := noRetries
	options.Transport = s.Client()
	err := get(ctx0, newDefault(t, managedid.DefaultAzureCredentialOptions{ClientOptions: options}), vault).Err
	require.Regexp(t, `^WorkloadIdentityCredential: Entra: no token from 127\.0\.0\.1:\d+: dial: connection refused; see https://\S+#not-ready$`, err.Error())
	require.IsType(t, &managedid.AuthenticationFailedError{}, err, "a chain must not go on to another identity")
}
