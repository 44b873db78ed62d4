package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAwait_readsUntilTheFileIsWhole(t *testing.T) {
	const never = time.Hour
	ms := func(n ...time.Duration) (all []time.Duration) {
		for _, d := range n {
			all = append(all, d*time.Millisecond)
		}
		return all
	}
	missing := fmt.Errorf("wrapped: %w", fs.ErrNotExist)
	half := fmt.Errorf("wrapped: %w", ErrEmpty)
	denied, replaced := fs.ErrPermission, errors.New("it was replaced while it was being opened")
	inVain := ms(0, 100, 300, 700, 1500, 3100) // which reads come before it gives up
	for _, row := range []struct {
		name    string
		err     error         // what a read says until the file is whole
		whole   time.Duration // when it is
		context time.Duration // when it ends
		reads   []time.Duration
		want    error
	}{
		{"there at once", missing, 0, never, ms(0), nil},
		{"missing, then there", missing, 250 * time.Millisecond, never, ms(0, 100, 300), nil},
		{"empty, then whole", half, 50 * time.Millisecond, never, ms(0, 100), nil},
		{"whole at the last moment", half, 3100 * time.Millisecond, never, inVain, nil},
		{"missing for ever", missing, never, never, inVain, missing},
		{"empty for ever", half, never, never, inVain, half},
		{"without the right to read it", denied, never, never, ms(0), denied},
		{"with an error that lasts", replaced, never, never, ms(0), replaced},
		{"the context ends", missing, never, 250 * time.Millisecond, ms(0, 100, 250), missing},
		{"the context ends once it is whole", missing, 200 * time.Millisecond, 250 * time.Millisecond, ms(0, 100, 250), nil},
		{"the context has ended", half, never, -1, ms(0), half},
		{"the context has ended, and it is whole", half, 0, -1, ms(0), nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), row.context)
				defer cancel()
				var reads []time.Duration
				content, err := Await(ctx, func() (string, error) {
					passed := time.Since(began)
					reads = append(reads, passed)
					if passed >= row.whole {
						return "whole", nil
					}
					return "part", row.err
				})
				require.Equal(t, row.want, err)
				require.Equal(t, row.reads, reads)
				require.Equal(t, row.reads[len(row.reads)-1], time.Since(began), "it returns at its last read")
				if row.want == nil {
					require.Equal(t, "whole", content)
				}
			})
		})
	}
}
