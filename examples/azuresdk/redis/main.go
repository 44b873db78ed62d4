// Redis counts visits in Azure Managed Redis or Azure Cache for Redis as the host's managed identity. REDIS_ADDR is
// NAME.REGION.redis.azure.net:10000 or NAME.redis.cache.windows.net:6380, and REDIS_OBJECT_ID the object ID of the identity,
// which is the user name: it comes from the deployment, since a token is not ours to read. The identity needs an access
// policy assignment. The service ends a connection with its token, unless a newer one has come by then.
//
// In the lab the server is a real Redis, which knows no Entra. TLS ends before it, at test code that verifies the signature,
// issuer, audience and life of each token, and that its object ID is the user's, then puts the user's password in its place,
// and ends connections with their tokens. Users, logins and all commands are Redis's own.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/managedid/managedid"
	"github.com/redis/go-redis/v9"
)

func options(cred azcore.TokenCredential) *redis.Options {
	return &redis.Options{
		Addr:                         os.Getenv("REDIS_ADDR"),
		TLSConfig:                    &tls.Config{MinVersion: tls.VersionTLS12},
		StreamingCredentialsProvider: newProvider(cred, os.Getenv("REDIS_OBJECT_ID")),
	}
}

func main() {
	log.SetFlags(0)
	cred, err := managedid.NewDefaultAzureCredential(nil)
	if err != nil {
		log.Fatal(err)
	}
	client := redis.NewClient(options(cred))
	defer client.Close()
	visits, err := client.Incr(context.Background(), "visits").Result()
	if redis.IsAuthError(err) {
		log.Fatalf("redis answers %s (give the identity REDIS_OBJECT_ID an access policy assignment; the cache has to be of its tenant and cloud)", err)
	} else if err != nil {
		log.Fatal(err)
	}
	fmt.Println("visits:", visits)
}
