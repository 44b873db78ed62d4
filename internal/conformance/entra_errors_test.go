package conformance

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/answer"
)

func TestEntra_errorsByTheirCode(t *testing.T) {
	const unknown = "the resource is unknown in the tenant, or the scope is not of the form RESOURCE/.default; correct the scope"
	const federated = "no federated credential of the application has the assertion's issuer, subject and audience; add or correct one, which takes some minutes to work"
	const noToken = "this token is not taken as an assertion; use that of a user-assigned managed identity in the application's tenant"
	const noApplication = "tenant contoso.onmicrosoft.com has no application with client ID " + someClient + "; correct AZURE_CLIENT_ID or AZURE_TENANT_ID, or the options"
	const noTenant = "tenant contoso.onmicrosoft.com doesn't exist; correct AZURE_TENANT_ID or the options"
	for _, row := range []struct {
		status int
		kind   string
		code   int
		reason managedid.Reason
		advice string
	}{
		{401, "invalid_client", 7000215, managedid.ReasonRejectedCredential, "the client secret is wrong; it has to be the secret's value, not its ID"},
		{401, "invalid_client", 7000222, managedid.ReasonRejectedCredential, "the client secret has expired; make a new one"},
		{401, "invalid_client", 700024, managedid.ReasonRejectedCredential, "the assertion is outside its validity"},
		{400, "invalid_request", 70021, managedid.ReasonRejectedCredential, federated},
		{401, "invalid_client", 700211, managedid.ReasonRejectedCredential, federated},
		{400, "invalid_request", 700212, managedid.ReasonRejectedCredential, federated},
		{401, "invalid_client", 700213, managedid.ReasonRejectedCredential, federated},
		{401, "invalid_client", 7002121, managedid.ReasonRejectedCredential, federated},
		{401, "invalid_client", 7002137, managedid.ReasonRejectedCredential, federated},
		{401, "invalid_client", 7002138, managedid.ReasonRejectedCredential, federated},
		{400, "invalid_request", 700222, managedid.ReasonRejectedCredential, noToken},
		{400, "invalid_request", 700229, managedid.ReasonRejectedCredential, noToken},
		{400, "invalid_request", 700236, managedid.ReasonRejectedCredential, noToken},
		{400, "invalid_request", 90061, managedid.ReasonRejectedCredential, "the assertion's issuer can't be reached; its discovery document and keys must be public"},
		{401, "invalid_client", 700027, managedid.ReasonRejectedCredential, "what proves the application's identity was refused"},
		{400, "unauthorized_client", 700016, managedid.ReasonIdentityNotFound, noApplication},
		{400, "invalid_request", 90002, managedid.ReasonIdentityNotFound, noTenant},
		{400, "invalid_request", 900023, managedid.ReasonIdentityNotFound, noTenant},
		{400, "invalid_resource", 500011, managedid.ReasonInvalidScope, unknown},
		{400, "invalid_scope", 70011, managedid.ReasonInvalidScope, unknown},
		{400, "invalid_scope", 1002012, managedid.ReasonInvalidScope, unknown},
		{400, "invalid_grant", 50196, "", "the application asks again and again; share a TokenCache between its credentials"},
		{400, "interaction_required", 50076, "", "the request was refused"},
	} {
		t.Run(fmt.Sprint(row.code), func(t *testing.T) {
			f := &fakeEntra{Script: func(_ int, r *http.Request) (*http.Response, error) {
				return respond(r, row.status, entraError(row.code, row.kind, "What it says.")), nil
			}}
			err := get(ctx0, newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{}), vault).Err
			requireError(t, err, fmt.Sprintf("ClientSecretCredential: Entra: %s (%s, %s: AADSTS%d: What it says.)", row.advice, answer.StatusLine(row.status), row.kind, row.code))
			require.Equal(t, row.reason, asCredentialError(t, err))
			failed := err.(*managedid.AuthenticationFailedError)
			require.Equal(t, row.status, failed.RawResponse.StatusCode)
			require.Nil(t, failed.RawResponse.Request.Body)
			require.Equal(t, 1, f.Count(), "no other 4xx than 429 is worth another try")
		})
	}
}

func TestEntra_textWithTimesIsCut(t *testing.T) {
	f := &fakeEntra{Script: func(_ int, r *http.Request) (*http.Response, error) {
		return respond(r, 401, entraError(700024, "invalid_client", "Client assertion is not within its valid time range. Current time: 2026-01-01T00:00:00Z, assertion valid from 2025.")), nil
	}}
	err := get(ctx0, newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{}), vault).Err
	requireError(t, err, "ClientSecretCredential: Entra: the assertion is outside its validity (401 Unauthorized, invalid_client: AADSTS700024: Client assertion is not within its valid time range.)")
}

func TestEntra_retries(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int
		body   string
		tries  int
		reason managedid.Reason
	}{
		{"500", 500, "", 4, managedid.ReasonNotReady},
		{"503", 503, "<html>", 4, managedid.ReasonNotReady},
		{"599", 599, "", 4, managedid.ReasonNotReady},
		{"temporarily_unavailable", 400, `{"error":"temporarily_unavailable"}`, 4, managedid.ReasonNotReady},
		{"408", 408, "", 1, ""},
		{"404", 404, "", 1, ""},
		{"410", 410, "", 1, ""},
		{"302", 302, "", 1, ""},
		{"200 without a token", 200, "{}", 1, managedid.ReasonMalformedAnswer},
		{"200 in HTML", 200, "<html>", 1, managedid.ReasonMalformedAnswer},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := &fakeEntra{Script: func(n int, r *http.Request) (*http.Response, error) { return respond(r, row.status, row.body), nil }}
				err := get(ctx0, newSecret(t, f, someTenant, someClient, someSecret, managedid.ClientSecretCredentialOptions{}), vault).Err
				require.Equal(t, row.reason, asCredentialError(t, err))
				require.IsType(t, &managedid.AuthenticationFailedError{}, err, "a chain must not go on")
				require.Equal(t, row.tries, f.Count())
				for _, form := range f.Forms {
					require.True(t, form.Get("client_secret") == someSecret, "each try has the whole body")
				}
			})
		})
	}
}

// The two may be mixed up: what is no ID is in no line, whoever repeats it.
func TestEntra_aSecretInThePlaceOfTheClientID(t *testing.T) {
	const swapped = "p8~sw4pped-s3cr3t"
	bubble(t, func(t *testing.T) {
		f := &fakeEntra{Script: func(_ int, r *http.Request) (*http.Response, error) {
			return respond(r, 400, entraError(700016, "unauthorized_client", "Application with identifier '"+swapped+"' was not found."), "X-Other", swapped), nil
		}}
		err := get(ctx0, newSecret(t, f, someTenant, swapped, someSecret, managedid.ClientSecretCredentialOptions{}), vault).Err
		requireError(t, err, "ClientSecretCredential: Entra: tenant contoso.onmicrosoft.com has no application with client ID (not an ID, so not shown); "+
			"correct AZURE_CLIENT_ID or AZURE_TENANT_ID, or the options (400 Bad Request, unauthorized_client: AADSTS700016: Application with identifier 'REDACTED' was not found.)")
		failed, _ := asType[*managedid.AuthenticationFailedError](err)
		require.Equal(t, "REDACTED", failed.RawResponse.Header.Get("X-Other"))
	})
}
