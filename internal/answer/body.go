package answer

import (
	"errors"
	"io"
)

// MaxBody is the largest size of an answer in bytes. The answer with a token has a few KiB.
const MaxBody = 1 << 20

// ReadBody reads a body of at most MaxBody bytes, and returns ErrTooLarge for a longer one. It allocates at most twice
// MaxBody.
func ReadBody(r io.Reader) ([]byte, error) {
	body := make([]byte, 0, 8<<10)
	for {
		if len(body) == MaxBody {
			if n, _ := io.ReadFull(r, make([]byte, 1)); n > 0 {
				return nil, ErrTooLarge
			}
			return body, nil
		}
		if len(body) == cap(body) {
			body = append(make([]byte, 0, 2*len(body)), body...)
		}
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF {
			return body, nil
		} else if err != nil {
			return nil, err
		}
	}
}

// ErrTooLarge is the error for a body of more than MaxBody bytes.
var ErrTooLarge = errors.New("the answer is larger than 1 MiB")
