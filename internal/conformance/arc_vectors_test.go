package conformance

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/managedidtest"
)

// realm is a fault that changes what the agent's challenge names.
func realm(values ...string) managedidtest.Fault {
	return managedidtest.Fault{Endpoint: managedidtest.Arc, Header: http.Header{"Www-Authenticate": values}}
}

const arcForm, arcNone = "the endpoint named a key file that is not of the form ", "the endpoint's 401 names no key file"

// arcChallenges break the rules, with the key files' folder as FOLDER.
var arcChallenges = []struct {
	name, challenge, problem string
	reason                   managedid.Reason
}{
	{"outside the folder", "Basic realm=OUTSIDE/k.key", arcForm, managedid.ReasonMalformedAnswer},
	{"below the folder", "Basic realm=FOLDER/below/k.key", arcForm, managedid.ReasonMalformedAnswer},
	{"wrong suffix", "Basic realm=FOLDER/k.pem", arcForm, managedid.ReasonMalformedAnswer},
	{"..", "Basic realm=FOLDER/below/../k.key", arcForm, managedid.ReasonMalformedAnswer},
	{"quoted realm", `Basic realm="FOLDER/k.key"`, arcForm, managedid.ReasonMalformedAnswer},
	{"4097 bytes", "Basic realm=FOLDER/4097.key", "it is larger than 4096 bytes", managedid.ReasonConfiguration},
	{"5 KiB", "Basic realm=FOLDER/5120.key", "it is larger than 4096 bytes", managedid.ReasonConfiguration},
	{"link out of the folder", "Basic realm=FOLDER/link.key", "it is not a regular file", managedid.ReasonConfiguration},
	{"empty file", "Basic realm=FOLDER/0.key", " is empty", managedid.ReasonConfiguration},
	{"no file", "Basic realm=FOLDER/none.key", "the agent's key file is not in ", managedid.ReasonConfiguration},
	{"no header", "", arcNone, managedid.ReasonMalformedAnswer},
	{"another scheme", "Bearer realm=FOLDER/k.key", arcNone, managedid.ReasonMalformedAnswer},
	{"another scheme in front", "Bearer x=y, Basic realm=FOLDER/k.key", arcNone, managedid.ReasonMalformedAnswer},
	{"another parameter in front", "Basic charset=UTF-8, realm=FOLDER/k.key", arcNone, managedid.ReasonMalformedAnswer},
}

func TestVector12_nothingIsSentAfterAChallengeThatBreaksTheRules(t *testing.T) {
	for _, row := range arcChallenges {
		t.Run(row.name, func(t *testing.T) {
			em, c, dir := newArc(t, nil, managedidtest.Options{})
			outside := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(dir, "below"), 0o700))
			for _, file := range []string{dir + "/k.key", dir + "/k.pem", dir + "/below/k.key", outside + "/k.key"} {
				require.NoError(t, os.WriteFile(file, []byte("k3y"), 0o600))
			}
			for _, size := range []int{0, 4097, 5120} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.key", size)), []byte(strings.Repeat("k", size)), 0o600))
			}
			if err := os.Symlink(filepath.Join(outside, "k.key"), filepath.Join(dir, "link.key")); err != nil {
				t.Skip("no symbolic links can be made here: " + err.Error())
			}
			var values []string
			if row.challenge != "" {
				values = append(values, filepath.FromSlash(strings.NewReplacer("FOLDER", dir, "OUTSIDE", outside).Replace(row.challenge)))
			}
			em.Inject(realm(values...))
			err := get(ctx0, c, vault).Err
			require.Equal(t, row.reason, asCredentialError(t, err))
			require.Contains(t, err.Error(), "ManagedIdentityCredential: Azure Arc: ")
			require.Contains(t, err.Error(), row.problem)
			require.NotContains(t, err.Error(), "k3y")
			require.NotContains(t, err.Error(), ".key\"")
			require.Equal(t, 401, err.(*managedid.AuthenticationFailedError).RawResponse.StatusCode)
			requests := em.Requests()
			require.Len(t, requests, 1)
			require.Empty(t, requests[0].Header.Values("Authorization"))
		})
	}
}

func TestArc_aChallengeIsUnderstoodInAnyCaseAndBesideOthers(t *testing.T) {
	em, c, dir := newArc(t, nil, managedidtest.Options{})
	path := filepath.Join(dir, "k.key")
	require.NoError(t, os.WriteFile(path, []byte("k3y"), 0o600))
	em.Inject(realm("Negotiate", "basic Realm="+path))
	require.Equal(t, managedid.ReasonRejectedCredential, asCredentialError(t, get(ctx0, c, vault).Err), "the emulator doesn't know this key")
	requests := em.Requests()
	require.Len(t, requests, 2, "a 401 to the key is final, whatever it names")
	require.True(t, requests[1].Header.Get("Authorization") == "Basic k3y")
}

func arcBody(fields string) string {
	return fmt.Sprintf(`{"access_token":%q,"expires_in":"3600"%s}`, secretToken, fields)
}

// arcEchoes are answers to the key.
var arcEchoes = []struct {
	name, body string
	id         managedid.ManagedIDKind
	ok         bool
}{
	{"system-assigned, without", arcBody(""), nil, true},
	{"system-assigned, with any", arcBody(`,"client_id":"x"`), nil, true},
	{"client ID, without", arcBody(""), managedid.ClientID(someGUID), false},
	{"client ID, another", arcBody(`,"client_id":"` + someGUID + `0"`), managedid.ClientID(someGUID), false},
	{"client ID, other case", arcBody(`,"client_id":"` + strings.ToUpper(someGUID) + `"`), managedid.ClientID(someGUID), true},
	{"client ID, empty", arcBody(`,"client_id":""`), managedid.ClientID(someGUID), false},
	{"client ID, a number", arcBody(`,"client_id":9`), managedid.ClientID(someGUID), false},
	{"client ID, null", arcBody(`,"client_id":null`), managedid.ClientID(someGUID), false},
	{"client ID, another selector's", arcBody(`,"object_id":"` + someGUID + `"`), managedid.ClientID(someGUID), false},
	{"client ID, field in other case", arcBody(`,"Client_ID":"` + someGUID + `"`), managedid.ClientID(someGUID), false},
	{"object ID", arcBody(`,"object_id":"` + someGUID + `"`), managedid.ObjectID(someGUID), true},
	{"object ID, as client ID", arcBody(`,"client_id":"` + someGUID + `"`), managedid.ObjectID(someGUID), false},
	{"resource ID", arcBody(`,"msi_res_id":"` + strings.ToLower(someResource) + `"`), managedid.ResourceID(someResource), true},
	{"resource ID, in the other spelling", arcBody(`,"mi_res_id":"` + someResource + `"`), managedid.ResourceID(someResource), true},
	{"resource ID, in both", arcBody(`,"mi_res_id":"` + someResource + `","msi_res_id":"` + someResource + `"`), managedid.ResourceID(someResource), true},
	{"resource ID, in both that differ", arcBody(`,"mi_res_id":"/other","msi_res_id":"` + someResource + `"`), managedid.ResourceID(someResource), false},
	{"resource ID, in both that differ, the other way", arcBody(`,"msi_res_id":"/other","mi_res_id":"` + someResource + `"`), managedid.ResourceID(someResource), false},
	{"client ID, no JSON", "<html>" + secretToken, managedid.ClientID(someGUID), false},
}

func TestVector13_aTokenIsTakenOnlyForTheConfirmedIdentity(t *testing.T) {
	for _, row := range arcEchoes {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				em, c, _ := newArc(t, row.id, managedidtest.Options{UserAssigned: []managedidtest.Identity{{ClientID: someGUID, ObjectID: someGUID, ResourceID: someResource}}})
				testkit.SecondOfArc(em, 200, row.body)
				r := get(ctx0, c, vault)
				if row.ok {
					require.NoError(t, r.Err)
					require.True(t, r.Token.Token == secretToken)
					return
				}
				require.Equal(t, managedid.ReasonMalformedAnswer, asCredentialError(t, r.Err))
				kind, _, _ := strings.Cut(row.name, ",")
				require.Contains(t, r.Err.Error(), "the agent did not confirm that its token is for the identity with "+kind)
				require.Len(t, em.Requests(), 2)
				time.Sleep(2 * time.Second)
				r = get(ctx0, c, vault)
				require.NoError(t, r.Err, "nothing was cached, and the agent has been mended")
				require.False(t, r.Token.Token == secretToken)
				require.Len(t, em.Requests(), 4)
			})
		})
	}
}

func TestVector13_anAgentWithoutUserAssignedIdentitiesIsNotBelieved(t *testing.T) {
	em, c, _ := newArc(t, managedid.ClientID(someGUID), managedidtest.Options{UserAssigned: []managedidtest.Identity{{ClientID: someGUID}}, ArcIgnoresIDs: true})
	err := get(ctx0, c, vault).Err
	require.Equal(t, managedid.ReasonMalformedAnswer, asCredentialError(t, err))
	require.Contains(t, err.Error(), "update the agent")
	require.Nil(t, err.(*managedid.AuthenticationFailedError).RawResponse, "it has a token")
	require.Equal(t, em.SystemAssigned().ClientID, em.Requests()[1].Identity)
}

func TestVector14_identityNotFoundIsFinal(t *testing.T) {
	em, c, _ := newArc(t, managedid.ClientID(someGUID), managedidtest.Options{})
	err := get(ctx0, c, vault).Err
	require.Equal(t, managedid.ReasonIdentityNotFound, asCredentialError(t, err))
	require.IsType(t, &managedid.AuthenticationFailedError{}, err)
	require.Contains(t, err.Error(), "Azure Arc: no identity with client ID "+someGUID+" is assigned to this host; assign it, or correct the ID in the options or AZURE_CLIENT_ID (404 Not Found, identity_not_found: ")
	requests := em.Requests()
	require.Len(t, requests, 2)
	require.Equal(t, 404, requests[1].Status)
}
