// Peerbench runs the same work through managedid and the libraries beside it, in one process, and judges it by the design's
// figures. It prints the table, and writes docs/benchmarks.md with its plots.
//
//	go -C internal/peerbench run .          # some minutes
//	go -C internal/peerbench run . -short   # under a minute, writes nothing unless -write says where
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
	rounds    int    // of each size and mode of hits
	starts    int    // of each program
	processes int    // of the fleet
}

// results are the table, and what the plots need beside it.
type results struct {
	options  options
	table    *table
	requests map[string][]int // by library, for each of crowds
	fleet    []*traffic       // by fleetRuns
}

func main() {
	short := flag.Bool("short", false, "take less than a minute, and write nothing unless -write is given")
	write := flag.String("write", "", "the directory for benchmarks.md and its plots (default ../../docs, with -short none)")
	flag.Parse()
	o := options{short: *short, write: *write, rounds: 400, starts: 40, processes: 10_000}
	if o.short {
		o.rounds, o.starts, o.processes = 25, 5, 300
	} else if o.write == "" {
		o.write = "../../docs"
	}
	// fake time is there for tests alone, so the run is one
	testing.Main(func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "peerbench", F: func(t *testing.T) { run(t, o) }}}, nil, nil)
}

func run(t *testing.T, o options) {
	began := time.Now()
	r := &results{options: o, table: &table{}}
	step := func(name string) { fmt.Fprintf(os.Stderr, "%4.0f s  %s\n", time.Since(began).Seconds(), name) }
	step("hits")
	h := newHits(t, r.table, o)
	h.measure(t, sizes[:len(sizes)-1]...)
	step("callers without a token")
	r.requests = cold(t, r.table)
	throttled(t, r.table)
	step("refresh, outage, absent")
	refresh(t, r.table)
	outage(t, r.table)
	absent(t, r.table)
	step("hits among 10,000 tokens")
	h.measure(t, sizes[len(sizes)-1])
	h.allocations()
	step("weight")
	weigh(t, r.table, o)
	step("fleet")
	r.fleet = simulateFleet(t, r.table, o)
	step("done")
	var page strings.Builder
	r.write(&page, time.Since(began))
	fmt.Print(page.String())
	if o.write != "" {
		require.NoError(t, r.save(page.String()))
	}
}
