package managedidtest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/managedid/managedid/managedidtest"
)

// fetch stands for the code under test. It returns a token, and the status of the answer.
func fetch(client *http.Client, url string) (token, status string) {
	url += "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
	req, _ := http.NewRequest(http.MethodGet, url, nil)
	req.Header.Set("Metadata", "true")
	resp, err := client.Do(req)
	if err != nil {
		return "", err.Error()
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	json.NewDecoder(resp.Body).Decode(&answer)
	return answer.AccessToken, resp.Status
}

func ExampleNewServer() {
	srv := managedidtest.NewServer(nil)
	defer srv.Close()
	vault := srv.NewResource("https://vault.azure.net", nil) // an API that requires the token

	env := srv.Environ(managedidtest.IMDS) // in a test, srv.Setenv(t, managedidtest.IMDS) sets these variables
	token, status := fetch(srv.Client(), env["AZURE_POD_IDENTITY_AUTHORITY_HOST"])
	fmt.Println(status)

	req, _ := http.NewRequest(http.MethodGet, vault.URL, nil)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := srv.Client().Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	fmt.Println(len(srv.Requests()), srv.Requests()[0].Resource)
	// Output:
	// 200 OK
	// 200 OK
	// 2 https://vault.azure.net
}

func ExampleNew() {
	em := managedidtest.New(&managedidtest.Options{
		UserAssigned:  []managedidtest.Identity{{ClientID: "5e29463d-71da-4fe0-8e69-999b57db23b0"}},
		TokenLifetime: 24 * time.Hour,
	})
	em.Inject(managedidtest.Fault{Endpoint: managedidtest.IMDS, Count: 1, Status: http.StatusGone})

	client := &http.Client{Transport: em}
	_, status := fetch(client, em.URL)
	fmt.Println(status)
	token, status := fetch(client, em.URL)
	fmt.Println(status)

	claims, err := managedidtest.VerifyToken(context.Background(), client, em.JWKSURL(), token,
		"https://vault.azure.net")
	fmt.Println(claims.ClientID == em.SystemAssigned().ClientID, err)
	// Output:
	// 410 Gone
	// 200 OK
	// true <nil>
}
