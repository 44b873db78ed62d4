// Command telemetry shows what a service can see of its credentials: spans by OpenTelemetry, and the numbers of the token cache by
// expvar and Prometheus. It runs beside the emulator, in a process of its own:
//
//	go -C examples/telemetry run .
package main

import (
	"context"
	"expvar"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/tracing/azotel"
	"github.com/managedid/managedid"
	"github.com/managedid/managedid/managedidtest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/sdk/trace"
)

func main() {
	log.SetFlags(0)
	srv := managedidtest.NewServer(nil)
	defer srv.Close()
	for name, value := range srv.Environ(managedidtest.IMDS) {
		os.Setenv(name, value)
	}
	provider := trace.NewTracerProvider(trace.WithSyncer(spanPrinter{os.Stdout}))
	defer provider.Shutdown(context.Background())
	if err := run(context.Background(), os.Stdout, provider); err != nil {
		log.Fatal(err)
	}
}

// run gets two tokens, and prints what a scrape of the numbers shows.
func run(ctx context.Context, w io.Writer, provider *trace.TracerProvider) error {
	options := &managedid.DefaultAzureCredentialOptions{Cache: managedid.NewTokenCache(nil)}
	options.TracingProvider = azotel.NewTracingProvider(provider, nil)
	cred, err := managedid.NewDefaultAzureCredential(options)
	if err != nil {
		return err
	}
	for _, scope := range []string{"https://vault.azure.net/.default", "https://storage.azure.com/.default", "https://vault.azure.net/.default"} {
		if _, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}}); err != nil {
			return err
		}
	}
	expvar.Publish("managedid", expvar.Func(func() any { return options.Cache.Stats() }))
	fmt.Fprintln(w, "expvar: managedid =", expvar.Get("managedid"))
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collector{options.Cache})
	scrape := httptest.NewRecorder()
	promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}).ServeHTTP(scrape, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	_, err = scrape.Body.WriteTo(w)
	return err
}
