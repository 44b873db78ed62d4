package main

import (
	"context"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// TestMain lets the test's program be what main is to a row that needs another process.
func TestMain(m *testing.M) {
	if library := os.Getenv(panicVariable); library != "" {
		os.Exit(servePanic(library))
	}
	os.Exit(m.Run())
}

func TestLibraries_cacheTheirTokens(t *testing.T) {
	managedidtest.New(nil).Setenv(t, managedidtest.AppService)
	for _, l := range libraries {
		for way, make := range map[string]maker{direct: l.alone, chained: l.chain} {
			if make == nil {
				continue
			}
			t.Run(l.name+", "+way, func(t *testing.T) {
				e := &endpoint{token: "t", lifetime: time.Hour}
				cred, err := make(&http.Client{Transport: e})
				require.NoError(t, err)
				k := newKey("libraries "+l.name+way, int(time.Now().UnixNano())) // MSAL's cache outlives a run
				for range 3 {
					got, err := cred.GetToken(context.Background(), k.opts)
					require.NoError(t, err)
					require.Equal(t, "t", got.Token)
					require.WithinDuration(t, time.Now().Add(time.Hour), got.ExpiresOn, 2*time.Second)
				}
				require.EqualValues(t, 1, e.requests.Load())
			})
		}
	}
}

func TestHits_haveAFigureInEachCell(t *testing.T) {
	var out table
	h := newHits(t, &out, options{rounds: 1})
	h.measure(t, 1, 10)
	h.allocations()
	require.Equal(t, 10, len(h.floor.tokens))
	require.LessOrEqual(t, h.endpoint.requests.Load(), int64(4*10),
		"managedid's twice, azidentity's and x/oauth2's; the policy and MSAL send none")
	for _, r := range h.out.rows {
		require.NotEmpty(t, r.cells[ours].text, r.what)
		require.NotEmpty(t, r.cells[msal].text, r.what)
	}
	require.Zero(t, out.get(hitTitle, allocationsRow(direct), ours).value)
}

func TestCrowd_managedidSendsOneRequestForAToken(t *testing.T) {
	c := crowd{resources: 3, each: 20, host: managedidtest.AppService,
		fault: managedidtest.Fault{Delay: 50 * time.Millisecond}}
	got := c.run(t, libraries[0], "crowd")
	// until the endpoint has answered, one request goes alone
	require.Equal(t, outcome{requests: 3, first: 50 * time.Millisecond, last: 100 * time.Millisecond}, got)
}

func TestCrowd_countsTheCallersWithoutAToken(t *testing.T) {
	c := crowd{resources: 1, each: 2, host: managedidtest.AppService,
		fault: managedidtest.Fault{Status: http.StatusTooManyRequests, For: time.Hour}}
	got := c.run(t, libraries[3], "patience")
	require.Equal(t, 2, got.without)
	require.Equal(t, got.requests, got.throttled)
	require.Equal(t, got.requests, got.within)
}

func TestLongestWait_ofManagedidIsNone(t *testing.T) {
	e := &endpoint{token: "t", lifetime: 5*time.Minute + hintLeast}
	require.Zero(t, longestWait(t, libraries[0], e, hintLeast))
}

func TestSurvive_managedidAnswersEachCall(t *testing.T) {
	require.Equal(t, [6]int{60, 60, 60, 60, 60, 60}, survive(t, libraries[0]))
}

func TestSearch(t *testing.T) {
	took, err := search(t, "search", noRoute, libraries[0].chain)
	require.Error(t, err)
	require.Zero(t, took)
	took, err = search(t, "search", vanish, libraries[0].chain)
	require.Error(t, err)
	require.Equal(t, 3*time.Second, took)
}
