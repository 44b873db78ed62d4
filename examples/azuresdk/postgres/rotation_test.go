package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/examples/azuresdk/internal/lab"
)

const child = "POSTGRES_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) == "" {
		os.Exit(m.Run())
	}
	if err := load(lab.ScaledLife + 2*time.Second); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestRotation keeps a pool in use until the first token has ended, over a refresh.
func TestRotation(t *testing.T) {
	tokens, err := lab.Rotate(t.Context(), (*lab.Lab).Postgres, child, "https://ossrdbms-aad.database.windows.net")
	if missing, ok := errors.AsType[*lab.MissingError](err); ok && os.Getenv("CI") == "" {
		t.Skip(missing)
	}
	require.NoError(t, err)
	require.GreaterOrEqual(t, tokens, 2, "one, and a refresh at least")
}

// newPool makes the example's pool, with connections that are replaced after half a second.
func newPool(ctx context.Context) (*pgxpool.Pool, error) {
	cred, err := managedid.NewDefaultAzureCredential(&managedid.DefaultAzureCredentialOptions{
		Cache: managedid.NewTokenCache(&managedid.TokenCacheOptions{RefreshBefore: 5 * time.Minute}), // without the random part, which isn't scaled
	})
	if err != nil {
		return nil, err
	}
	config, err := configure(cred)
	if err != nil {
		return nil, err
	}
	config.MaxConns, config.MaxConnLifetime = 4, 500*time.Millisecond
	return pgxpool.NewWithConfig(ctx, config)
}

// load uses the pool for a while, and one of its connections for all that time. It fails if an operation does.
func load(long time.Duration) error {
	ctx := context.Background()
	pool, err := newPool(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	held, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer held.Release()
	var work sync.WaitGroup
	var mu sync.Mutex // guards err
	began := time.Now()
	for _, query := range []func(context.Context) error{held.Ping, pool.Ping, pool.Ping} {
		work.Go(func() {
			for time.Since(began) < long {
				e := query(ctx)
				if e != nil {
					mu.Lock()
					defer mu.Unlock()
					err = errors.Join(err, e)
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	work.Wait()
	if n := pool.Stat().NewConnsCount(); n < int64(long/time.Second) {
		err = errors.Join(err, fmt.Errorf("only %d connections were made", n))
	}
	return err
}
