package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
)

// shown is the number of violations that are printed for each promise.
const shown = 10

// violations count broken promises by promise.
type violations struct {
	mu    sync.Mutex
	count map[string]int
}

// add counts a violation and prints the first ones.
func (v *violations) add(promise, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.count[promise]++; v.count[promise] <= shown {
		fmt.Fprintf(os.Stderr, "VIOLATION %s: %s\n", promise, fmt.Sprintf(format, args...))
	}
}

func (v *violations) counts() map[string]int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.count)
}

// listed returns the counts in the form "a 1, b 2".
func listed(counts map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
