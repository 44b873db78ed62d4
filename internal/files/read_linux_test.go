package files

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRead_waitsForNoPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for name, read := range readers {
		t.Run(name, func(t *testing.T) {
			done := make(chan error, 1)
			go func() {
				_, err := read(pipe, 4)
				done <- err
			}()
			select {
			case err := <-done:
				require.EqualError(t, err, "it is not a regular file")
			case <-time.After(10 * time.Second):
				require.FailNow(t, "it waits for a writer")
			}
		})
	}
}

func TestRead_refusesADevice(t *testing.T) {
	for name, read := range readers {
		t.Run(name, func(t *testing.T) {
			_, err := read("/dev/zero", 4)
			require.EqualError(t, err, "it is not a regular file")
		})
	}
}

func TestAbsolute_isThePathWhereTheFolderIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	require.NoError(t, os.Mkdir(dir, 0o700))
	t.Chdir(dir)
	require.NoError(t, os.Remove(dir))
	require.Equal(t, "a/../file", Absolute("a/../file"))
}
