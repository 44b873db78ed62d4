package files

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

// Await calls read until it succeeds. It retries only while the file is missing or [Unfinished], because another
// program may be replacing it, and for about three seconds at most. Then, or when ctx ends, it returns the last error.
func Await[T any](ctx context.Context, read func() (T, error)) (T, error) {
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		content, err := read()
		var unfinished Unfinished
		passing := errors.As(err, &unfinished) || errors.Is(err, fs.ErrNotExist)
		if !passing || pause > 2*time.Second || ctx.Err() != nil {
			return content, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// Unfinished is the error for a file whose content may be incomplete, because another program is writing it.
type Unfinished string

func (e Unfinished) Error() string { return string(e) }

// ErrEmpty is the error for an empty file.
const ErrEmpty = Unfinished("it is empty")
