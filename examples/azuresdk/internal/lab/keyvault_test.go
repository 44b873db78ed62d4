package lab

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
)

// newApplication makes the emulator's first application's credential, whose tokens say that it handles CAE.
func newApplication(t *testing.T, azure *managedidtest.Emulator) azcore.TokenCredential {
	t.Helper()
	app := azure.Applications()[0]
	cred, err := managedid.NewClientSecretCredential(azure.TenantID(), app.ClientID, app.Secrets[0].Value,
		&managedid.ClientSecretCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: azure}})
	require.NoError(t, err)
	return cred
}

func TestKeyVault_azsecrets(t *testing.T) {
	azure := managedidtest.New(nil)
	client, err := azsecrets.NewClient("https://"+vaultHost, newApplication(t, azure),
		&azsecrets.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: azure.KeyVault(nil)}})
	require.NoError(t, err)
	_, err = client.GetSecret(t.Context(), "password", "", nil)
	var problem *azcore.ResponseError
	require.ErrorAs(t, err, &problem)
	require.Equal(t, "SecretNotFound", problem.ErrorCode)

	value := "made-up"
	first, err := client.SetSecret(t.Context(), "password", azsecrets.SetSecretParameters{Value: &value}, nil)
	require.NoError(t, err)
	require.Equal(t, "password", first.ID.Name())
	value = "another"
	_, err = client.SetSecret(t.Context(), "password", azsecrets.SetSecretParameters{Value: &value}, nil)
	require.NoError(t, err)
	got, err := client.GetSecret(t.Context(), "password", "", nil)
	require.NoError(t, err)
	require.True(t, *got.Value == "another")
	require.True(t, *got.Attributes.Enabled)
	require.NotNil(t, got.Attributes.Created)
	got, err = client.GetSecret(t.Context(), "password", first.ID.Version(), nil)
	require.NoError(t, err)
	require.True(t, *got.Value == "made-up")
	require.Len(t, azure.Requests(), 1)

	azure.RevokeTokens()
	_, err = client.GetSecret(t.Context(), "password", "", nil)
	require.NoError(t, err, "the client answers the claims challenge with a new token")
	require.Len(t, azure.Requests(), 2)
	require.Contains(t, azure.Requests()[1].Form.Get("claims"), `"nbf"`)
}

func TestKeyVault_onLoopback(t *testing.T) {
	srv := managedidtest.NewServer(nil)
	defer srv.Close()
	cred := newApplication(t, srv.Emulator)
	vault := srv.NewKeyVault(map[string]string{"password": "made-up"})
	client, err := azsecrets.NewClient(vault.URL, cred, &azsecrets.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: srv.Client()}, DisableChallengeResourceVerification: true})
	require.NoError(t, err)
	got, err := client.GetSecret(t.Context(), "password", "", nil)
	require.NoError(t, err)
	require.True(t, *got.Value == "made-up")
}
