package main

import (
	"context"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
	"github.com/stretchr/testify/require"
)

const api = "https://api.example"

// test runs the service in fake time, on a virtual machine with a system-assigned and a user-assigned identity.
// clientID is the value of AZURE_CLIENT_ID. call sends a request to the service.
func test(t *testing.T, clientID string, f func(t *testing.T, azure *managedidtest.Emulator,
	call func(context.Context) (int, string))) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(3 * time.Minute) // a token request continues for so long after its caller leaves
		azure := managedidtest.New(&managedidtest.Options{UserAssigned: []managedidtest.Identity{{ClientID: user}}})
		azure.Setenv(t, managedidtest.IMDS)
		t.Setenv("AZURE_CLIENT_ID", clientID)
		cred, err := managedid.NewDefaultAzureCredential(&managedid.DefaultAzureCredentialOptions{
			ClientOptions: azcore.ClientOptions{Transport: azure},
		})
		require.NoError(t, err)
		s := newService(api, cred, &azcore.ClientOptions{Transport: azure.Resource(api, nil)})
		f(t, azure, func(ctx context.Context) (int, string) {
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/orders", nil))
			return w.Code, w.Body.String()
		})
	})
}

const user = "5e29463d-71da-4fe0-8e69-999b57db23b0"

func TestService_systemAssigned(t *testing.T) {
	test(t, "", func(t *testing.T, azure *managedidtest.Emulator, call func(context.Context) (int, string)) {
		status, body := call(t.Context())
		require.Equal(t, 200, status)
		require.Contains(t, body, azure.SystemAssigned().ObjectID)
	})
}

func TestService_userAssigned(t *testing.T) {
	test(t, user, func(t *testing.T, _ *managedidtest.Emulator, call func(context.Context) (int, string)) {
		status, body := call(t.Context())
		require.Equal(t, 200, status)
		require.Contains(t, body, user)
	})
}

func TestService_unknownIdentity(t *testing.T) {
	test(t, "00000000-0000-4000-8000-000000000000", func(t *testing.T, _ *managedidtest.Emulator,
		call func(context.Context) (int, string)) {
		status, body := call(t.Context())
		require.Equal(t, 502, status)
		require.Contains(t, body, "AZURE_CLIENT_ID")
	})
}

func TestService_throttled(t *testing.T) {
	test(t, "", func(t *testing.T, azure *managedidtest.Emulator, call func(context.Context) (int, string)) {
		azure.Inject(managedidtest.Fault{Endpoint: managedidtest.IMDS, For: 20 * time.Second, Status: 429})
		began := time.Now()
		status, _ := call(t.Context())
		require.Equal(t, 200, status)
		require.GreaterOrEqual(t, time.Since(began), 20*time.Second)
		require.LessOrEqual(t, len(azure.Requests()), 10)
	})
}

func TestService_tokenExpiresWhileInUse(t *testing.T) {
	test(t, "", func(t *testing.T, azure *managedidtest.Emulator, call func(context.Context) (int, string)) {
		for range 90 {
			status, _ := call(t.Context())
			require.Equal(t, 200, status)
			time.Sleep(time.Minute)
		}
		require.Len(t, azure.Requests(), 2, "a token of an hour is refreshed five minutes early, or some more")
	})
}

func TestService_endpointDown(t *testing.T) {
	test(t, "", func(t *testing.T, azure *managedidtest.Emulator, call func(context.Context) (int, string)) {
		status, _ := call(t.Context())
		require.Equal(t, 200, status)
		azure.Inject(managedidtest.Fault{Refused: true})
		time.Sleep(59 * time.Minute)
		status, _ = call(t.Context())
		require.Equal(t, 200, status, "the token is good for another minute")
		time.Sleep(2 * time.Minute)
		status, body := call(t.Context())
		require.Equal(t, 502, status)
		require.Contains(t, body, "connection refused")
	})
}

func TestService_aCallerWhoLeaves(t *testing.T) {
	test(t, "", func(t *testing.T, azure *managedidtest.Emulator, call func(context.Context) (int, string)) {
		azure.Inject(managedidtest.Fault{Endpoint: managedidtest.IMDS, Status: 503, For: 30 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		status, body := call(ctx)
		require.Equal(t, 502, status)
		require.Contains(t, body, "deadline exceeded")
		status, _ = call(t.Context())
		require.Equal(t, 200, status, "the next caller waits for the same request")
	})
}
