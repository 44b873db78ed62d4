// Soak has 200 goroutines ask for tokens of 20 resources with three credentials, at endpoints where things go wrong at
// random, in a process that is suspended at times, and checks all the while what the library promises:
//
//   - no token that has expired or is another's;
//   - one request for a token, and a second one beside it only where the first has long had no answer;
//   - the limits and the pauses of the endpoints, and that requests grow with the good answers after a pause;
//   - no call with five seconds fails at an endpoint that has been healthy for two;
//   - every call ends within its deadline;
//   - no proxy is used, and no secret and no panic's value is in an error or a log;
//   - the heap stays flat, and goroutines, files and heap are in the end what they were.
//
// What goes wrong: answers of all kinds, slow, cut off, lost or throttling; outages of up to a minute, after each of
// which nothing goes wrong for some seconds; swarms of 300 calls that leave together; credentials that are made, used
// once or never, and dropped; and, for each third caller, a transport that gets stuck at times, whatever its context
// says, or panics.
//
// It needs a system with SSL_CERT_FILE and without a trust store of its own, such as Linux.
//
//	go run ./internal/soak -for 10m -seed 1
//	go run -race ./internal/soak -for 1m -seed 1
//
// The seed decides all that is random: faults, suspensions, and what each goroutine asks for, when and for how long. It
// takes some seconds more than -for, until everything has come to rest. The exit code is 1 where a promise was broken.
// The summary says how often each thing happened: a promise that nothing has put to the test has not been shown.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	if config := os.Getenv(childVariable); config != "" {
		exit(runChild(config, os.Stdin, os.Stdout))
	}
	duration := flag.Duration("for", 10*time.Minute, "how long things go wrong")
	seed := flag.Uint64("seed", 1, "of all that is random")
	flag.Parse()
	violated, err := run(*seed, *duration)
	if violated && err == nil {
		os.Exit(1)
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(2)
	}
	os.Exit(0)
}
