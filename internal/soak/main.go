// Command soak tests the library under random faults. 200 goroutines request tokens of 20 resources with three
// credentials. The endpoints fail at random, and the process is suspended from time to time. Meanwhile the command
// checks what the library promises:
//
//   - no token is expired or belongs to another credential or resource;
//   - there is one token request at a time, and a second one only after the first has had no answer for long;
//   - the limits and the pauses of the endpoints are respected, and after a pause the number of requests grows with the
//     good answers;
//   - no call with five seconds fails at an endpoint that has been healthy for two seconds;
//   - every call ends within its deadline;
//   - no proxy is used, and no error and no log contains a secret or the value of a panic;
//   - the heap stays flat, and at the end the goroutines, files and heap are back at their initial level.
//
// The faults are: answers of all kinds, also slow, cut off, lost or throttled; outages of up to a minute, each followed
// by some seconds without faults; swarms of 300 calls that leave together; credentials that are created, used once or
// never, and dropped; and, for every third caller, a transport that sometimes panics, or blocks and ignores its
// context.
//
// The command needs a system that reads SSL_CERT_FILE and has no trust store of its own, such as Linux.
//
//	go run ./internal/soak -for 10m -seed 1
//	go run -race ./internal/soak -for 1m -seed 1
//
// The seed determines everything random: the faults, the suspensions, and the plans of the goroutines. A run takes some
// seconds longer than -for, until all requests have ended. The exit code is 1 if a promise was broken. The summary
// counts how often each event happened. A promise that no event tested is not proven.
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

// exit ends the process. The exit code is 2 if err is not nil.
func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(2)
	}
	os.Exit(0)
}
