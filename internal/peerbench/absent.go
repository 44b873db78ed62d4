package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/peerbench/weight"
	"github.com/managedid/managedid/managedidtest"
)

const absentTitle = "Absent"

// dial is how a network without IMDS answers.
type dial func(ctx context.Context) error

// noRoute is the answer of a host whose network knows no way to the address.
func noRoute(context.Context) error { return os.NewSyscallError("connect", syscall.ENETUNREACH) }

// vanish gives up after the 30 s of net/http's and azcore's default dialers.
func vanish(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(30 * time.Second):
		return errors.New("i/o timeout")
	}
}

func absent(t *testing.T, out *table) {
	s := out.section(absentTitle, "Time until a chain knows that no IMDS is there; "+
		"a chain of one's own has another link behind the managed identity.", ours, theirs, msal, reuse)
	for _, network := range []struct {
		name string
		dial dial
	}{{"no route", noRoute}, {"packets vanish", vanish}} {
		whole, own := s.row("default chain, "+network.name), s.row("a chain of one's own, "+network.name)
		for _, l := range libraries {
			if l.chain == nil {
				whole.fill(noChain, l.name)
				own.fill(noChain, l.name)
				continue
			}
			took, err := search(t, l.name, network.dial, l.chain)
			require.Error(t, err)
			whole.set(l.name, took.Seconds(), "%s", seconds(took))
			took, err = search(t, l.name, network.dial, func(via *http.Client) (azcore.TokenCredential, error) {
				return l.first(via, weight.Fixed{})
			})
			ends := map[bool]string{true: ", then an error instead of the next link"}[err != nil]
			own.set(l.name, took.Seconds(), "%s%s", seconds(took), ends)
		}
	}
}

// search is how long a chain needs for its first token or error.
func search(t *testing.T, name string, d dial, chain maker) (took time.Duration, err error) {
	measure(t, false, func(t *testing.T) {
		managedidtest.New(nil).Setenv(t, managedidtest.IMDS)
		t.Setenv("AZURE_TOKEN_CREDENTIALS", "prod")
		dialer := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: d(ctx)}
		}
		via := &http.Client{Transport: &http.Transport{DialContext: dialer}}
		cred, failed := chain(via)
		require.NoError(t, failed)
		began := time.Now()
		k := newKey("absent-"+name, 0)
		_, err = cred.GetToken(context.Background(), k.opts)
		took = time.Since(began)
	})
	return took, err
}
