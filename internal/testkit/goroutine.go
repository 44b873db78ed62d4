package testkit

import (
	"fmt"
	"os"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

// Main fails where a goroutine of the root package has outlived the tests.
func Main(m *testing.M) (code int) {
	code = m.Run()
	if left := WaitForGoroutines(); left != "" && code == 0 {
		fmt.Fprintln(os.Stderr, "goroutines left behind:\n"+left)
		code = 1
	}
	return code
}

// CheckGoroutines fails a test that leaves a goroutine of the root package behind. Those in a synctest bubble need no
// check: the bubble itself does not end before its goroutines.
func CheckGoroutines(tb testing.TB) {
	tb.Helper()
	tb.Cleanup(func() {
		if left := WaitForGoroutines(); left != "" {
			tb.Errorf("goroutines left behind:\n%s", left)
		}
	})
}

// WaitForGoroutines returns the stacks of goroutines that the root package began, once those about to end have had time to.
func WaitForGoroutines() (left string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		var all strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&all, 2)
		left = ""
		for stack := range strings.SplitSeq(all.String(), "\n\n") {
			if _, creator, _ := strings.Cut(stack, "created by "); strings.HasPrefix(creator, ModulePath+".(") {
				left += stack + "\n\n"
			}
		}
		if left == "" {
			return ""
		}
		<-tick.C
	}
	return left
}
