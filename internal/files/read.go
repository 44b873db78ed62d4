package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/managedid/managedid/internal/text"
)

// ReadUnlinked reads a file like Read, but fails if the path ends in a symbolic link. It needs no right to list the
// folder, because it compares the opened file with the file that it saw at the path before.
func ReadUnlinked(path string, limit int64) ([]byte, error) {
	seen, err := os.Lstat(path)
	err = withoutPath(err)
	if err != nil {
		return nil, err
	} else if !seen.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	return readSame(seen, path, limit)
}

// Exists reports whether there is a file or folder at the path.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return path != "" && err == nil
}

// Absolute returns the absolute path, which a change of the working directory doesn't affect. If there is none, it
// returns the path unchanged.
func Absolute(path string) string {
	if p, err := filepath.Abs(path); err == nil {
		return p
	}
	return path
}

// Read reads a regular file of at most limit bytes. It doesn't wait for the writer of a pipe. Its errors contain
// neither the path nor anything from the file.
func Read(path string, limit int64) ([]byte, error) {
	return readSame(nil, path, limit)
}

// readSame reads a file like Read. It fails if the file is not the one that was seen at the path before. A nil seen
// means any file.
func readSame(seen fs.FileInfo, path string, limit int64) ([]byte, error) {
	if text.Path(path) == text.NotAPath { // it may be the content of the file by mistake
		return nil, errors.New("it is not a path")
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	var content []byte
	if err == nil {
		defer f.Close()
		if info, e := f.Stat(); e == nil && !info.Mode().IsRegular() {
			return nil, errors.New("it is not a regular file")
		} else if seen != nil && (e != nil || !os.SameFile(seen, info)) {
			return nil, errors.New("it was replaced while it was being opened")
		}
		content, err = io.ReadAll(io.LimitReader(f, limit+1))
	}
	err = withoutPath(err)
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("it is larger than %d bytes", limit)
	}
	return content, err
}

// withoutPath removes the path from an error.
func withoutPath(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
