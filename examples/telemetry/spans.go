package main

import (
	"context"
	"fmt"
	"io"

	"go.opentelemetry.io/otel/sdk/trace"
)

// spanPrinter stands for an exporter to a collector.
type spanPrinter struct{ w io.Writer }

func (p spanPrinter) ExportSpans(_ context.Context, spans []trace.ReadOnlySpan) error {
	for _, s := range spans {
		indent := ""
		if s.Parent().IsValid() {
			indent = "  "
		}
		fmt.Fprintf(p.w, "%sspan %q %s", indent, s.Name(), s.Status().Code)
		for _, a := range s.Attributes() {
			fmt.Fprintf(p.w, " %s=%s", a.Key, a.Value.Emit())
		}
		fmt.Fprintln(p.w)
	}
	return nil
}

func (spanPrinter) Shutdown(context.Context) error { return nil }
