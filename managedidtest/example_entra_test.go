package managedidtest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/managedid/managedid/managedidtest"
)

// exchange stands for the code under test, in a pod with this environment. It returns a token or the error of Entra.
func exchange(client *http.Client, env map[string]string) (token, problem string) {
	assertion, err := os.ReadFile(env["AZURE_FEDERATED_TOKEN_FILE"])
	if err != nil {
		return "", err.Error()
	}
	resp, err := client.PostForm(env["AZURE_AUTHORITY_HOST"]+env["AZURE_TENANT_ID"]+"/oauth2/v2.0/token", url.Values{
		"grant_type":            {"client_credentials"},
		"client_id":             {env["AZURE_CLIENT_ID"]},
		"client_assertion":      {string(assertion)},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"scope":                 {"https://vault.azure.net/.default"},
	})
	if err != nil {
		return "", err.Error()
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
		Error       string
		Codes       []int `json:"error_codes"`
	}
	json.NewDecoder(resp.Body).Decode(&answer)
	return answer.AccessToken, fmt.Sprintln(answer.Error, answer.Codes)
}

func ExampleEmulator_NewTokenFile() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	srv := managedidtest.NewServer(nil)
	defer srv.Close()
	// The tokens of this file have already expired.
	file, err := srv.NewTokenFile(dir, &managedidtest.TokenFileOptions{Lifetime: -time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	// In a test, srv.Setenv(t, managedidtest.Workload) does all of the above.
	env := srv.Environ(managedidtest.Workload)
	_, problem := exchange(srv.Client(), env)
	fmt.Print(problem)

	if _, err = srv.NewTokenFile(dir, nil); err != nil { // replaces the first file
		fmt.Println(err)
		return
	}
	token, _ := exchange(srv.Client(), env)
	claims, err := managedidtest.VerifyToken(context.Background(), srv.Client(), srv.JWKSURL(), token,
		"https://vault.azure.net")
	fmt.Println(claims.ClientID == srv.Applications()[0].ClientID, err)
	fmt.Println(file.Write("garbage"))
	_, problem = exchange(srv.Client(), env)
	fmt.Print(problem)
	// Output:
	// invalid_client [700024]
	// true <nil>
	// <nil>
	// invalid_request [50027]
}
