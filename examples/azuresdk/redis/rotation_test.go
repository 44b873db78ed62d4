package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/examples/azuresdk/internal/lab"
)

const child = "REDIS_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) == "" {
		os.Exit(m.Run())
	}
	if err := load(lab.ScaledLife + 2*time.Second); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestRotation keeps connections in use until the token that they began with has ended, over a refresh.
func TestRotation(t *testing.T) {
	tokens, err := lab.Rotate(t.Context(), (*lab.Lab).Redis, child, "https://redis.azure.com")
	if missing, ok := errors.AsType[*lab.MissingError](err); ok && os.Getenv("CI") == "" {
		t.Skip(missing)
	}
	require.NoError(t, err)
	require.GreaterOrEqual(t, tokens, 2, "one, and a refresh at least")
}

// load uses the example's client for a while, without retries, and fails if an operation does, or if no connection that was
// there at the beginning is left.
func load(long time.Duration) error {
	cred, err := managedid.NewDefaultAzureCredential(&managedid.DefaultAzureCredentialOptions{
		Cache: managedid.NewTokenCache(&managedid.TokenCacheOptions{RefreshBefore: 5 * time.Minute}), // without the random part, which isn't scaled
	})
	if err != nil {
		return err
	}
	o := options(cred)
	o.MaxRetries = -1
	o.PoolFIFO = true // has all connections used in turn
	o.PoolSize = 8    // go-redis wants some to spare, since it uses none while it awaits its turn to authenticate again
	client := redis.NewClient(o)
	defer client.Close()
	var work sync.WaitGroup
	var mu sync.Mutex // guards all below
	began, first, last := time.Now(), map[int64]time.Time{}, map[int64]time.Time{}
	for range 4 {
		work.Go(func() {
			for time.Since(began) < long {
				id, e := client.ClientID(context.Background()).Result()
				mu.Lock()
				err = errors.Join(err, e)
				last[id] = time.Now()
				if first[id].IsZero() {
					first[id] = last[id]
				}
				mu.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	work.Wait()
	for id := range first {
		if last[id].Sub(first[id]) > lab.ScaledLife {
			return err
		}
	}
	return errors.Join(err, errors.New("no connection has outlived the token that it began with"))
}
