package managedid

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// requireJittered checks a time that Retry-After decided: never less, and at most 30 % or 3 s more.
func requireJittered(t testing.TB, named, took time.Duration) {
	t.Helper()
	require.GreaterOrEqual(t, took, named)
	require.LessOrEqual(t, took, named+min(named, 10*time.Second)*3/10)
}
