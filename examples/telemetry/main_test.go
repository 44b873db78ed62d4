package main

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/managedid/managedid/managedidtest"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace"
)

type spanNames chan string

func (n spanNames) ExportSpans(_ context.Context, spans []trace.ReadOnlySpan) error {
	for _, s := range spans {
		n <- s.Name()
	}
	return nil
}

func (spanNames) Shutdown(context.Context) error { return nil }

func TestRun(t *testing.T) {
	srv := managedidtest.NewServer(nil)
	t.Cleanup(srv.Close)
	srv.Setenv(t, managedidtest.IMDS)
	names := make(spanNames, 100)
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, trace.NewTracerProvider(trace.WithSyncer(names))))
	require.Contains(t, out.String(), `expvar: managedid = {"tokens":2,"acquisitions":2,`)
	require.Contains(t, out.String(), "\nmanagedid_acquisitions_total 2\n")
	require.Contains(t, out.String(), "\nmanagedid_tokens 2\n")
	require.NotContains(t, out.String(), "managedid_failures_total", "nothing failed")
	seen := map[string]int{}
	for limit := time.After(time.Minute); seen["ManagedIdentityCredential.GetToken"] < 2; { // a flight's span ends after its callers have left
		select {
		case name := <-names:
			seen[name]++
		case <-limit:
			require.FailNow(t, "a span is missing", "%v", seen)
		}
	}
	require.Equal(t, 2, seen["HTTP GET"], "a hit has no span")
}
