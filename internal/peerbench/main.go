// Peerbench runs the same work through managedid and the libraries beside it, in one process, and judges it by the
// design's figures. It prints the table, and writes docs/benchmarks.md with its plots.
//
//	go -C internal/peerbench run .          # some minutes
//	go -C internal/peerbench run . -short   # a few minutes, writes nothing unless -write says where
//	go -C internal/peerbench run . -only recovery,node   # some parts alone, of which -help has the names
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// options are how thorough a run is.
type options struct {
	short     bool
	write     string // a directory; "" writes nothing
	only      string // parts, with commas; "" means all
	packed    bool   // print the results for another process
	rounds    int    // of each size and mode of hits
	starts    int    // of each program
	processes int    // of the fleet
}

// results are the table, and what the plots need beside it.
type results struct {
	options  options
	table    *table
	requests map[string][]int  // by library, for each of crowds
	fleet    []*traffic        // by fleetRuns
	around   map[string]sample // by aroundName
}

func main() {
	if library := os.Getenv(panicVariable); library != "" {
		os.Exit(servePanic(library))
	}
	var o options
	flag.BoolVar(&o.short, "short", false, "measure less, and write nothing unless -write is given")
	flag.StringVar(&o.write, "write", "",
		"the directory for benchmarks.md and its plots (default ../../docs; with -short or -only none)")
	flag.StringVar(&o.only, "only", "", "parts, with commas between them: "+strings.Join(parts, ", "))
	flag.BoolVar(&o.packed, "packed", false, "print the results for another process")
	flag.Parse()
	o.rounds, o.starts, o.processes = 400, 40, 10_000
	if o.short {
		o.rounds, o.starts, o.processes = 25, 5, 300
	}
	if o.write == "" && !o.short && o.only == "" {
		o.write = "../../docs"
	}
	if err := o.check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	// fake time is there for tests alone, so the run is one
	testing.Main(func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "peerbench", F: func(t *testing.T) { run(t, o) }}}, nil, nil)
}

func run(t *testing.T, o options) {
	began := time.Now()
	r := &results{options: o, table: &table{}}
	r.measure(t, func(name string) { fmt.Fprintf(os.Stderr, "%4.0f s  %s\n", time.Since(began).Seconds(), name) })
	if o.packed {
		require.NoError(t, r.pack(os.Stdout))
		return
	}
	var page strings.Builder
	r.write(&page, time.Since(began))
	fmt.Print(page.String())
	if o.write != "" {
		require.NoError(t, r.save(page.String()))
	}
}
